"""The CUDA kernels without a GPU: run thread by thread on the host, against float64.

tests/native/emulated_cuda.h stands for CUDA: it finds barriers that not every thread reaches. The
sanitizer finds accesses outside of shared and global memory and misaligned vector loads, or, with
DDETR_EMULATION_SANITIZER=thread, races between the threads of a block.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).parent / "native"
CPU = NATIVE.parent.parent / "csrc" / "cpu"
SOURCES = (CPU / "scalar.cpp", CPU / "parallel.cpp")
SANITIZERS = {
    "address": ["-O0", "-fsanitize=address,alignment", "-fno-sanitize-recover=all"],
    "thread": ["-O1", "-fsanitize=thread"],
}
OPTIONS = {"ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "halt_on_error=1"}
H100, T4 = "232448", "65536"  # bytes of shared memory that a block may have

CASES = {
    "four levels": "float32 12x17,6x9,3x5,2x3 1 0 1 32 3 tiles",
    "16 bits, other order": f"bfloat16 9x20,5x10 1 0 2 32 2 tiles {H100} descending",
    "no memory for large windows": f"float16 20x12,10x6 1 0 1 32 2 tiles {T4}",
    "odd head, narrow levels": "float32 17x10,1x40 1 0 1 20 3 tiles",
    "16 bits, no wide loads": "float16 6x9,3x5 1 0 1 12 3 tiles",
    "single pixels": "float32 1x1,1x1 2 0 1 8 1 tiles",
    "16 bits, four points": f"float16 12x17,6x9,3x5,2x3 1 0 1 32 4 tiles {T4} descending",
    "one lane a head": "float32 9x9 2 0 2 4 4 tiles",
    "eight levels": "float16 5x5,4x4,3x3,3x2,2x2,2x1,1x2,1x1 1 0 1 24 5 tiles",
    "more levels than warps": "float32 5x5,4x4,3x3,3x2,2x2,2x1,1x2,1x1,1x1,1x1 1 0 1 32 2 tiles",
    "as many points as lanes": "float32 7x7 1 0 1 32 32 tiles",
    "more points than lanes": "bfloat16 7x7 1 0 1 32 40 tiles",
    "a head of all lanes": "bfloat16 9x9,5x5 1 0 1 256 2 tiles",
    "a head of more": "float16 9x9,5x5 1 0 1 264 2 tiles",
    "few queries": "float32 6x9,3x5,2x2 2 9 2 32 3 tiles",
    "encoder without tiles": "bfloat16 6x9,3x5 1 0 1 64 3 general",
    "single channels": "float16 6x9 1 5 2 17 3 general",
    "wide head in turns": "float32 6x9 1 9 1 200 2 general",
    "16 bits, any queries": "float16 6x9,3x5 2 11 2 8 3 general",
    "16 bits, one channel": "bfloat16 6x9,3x5 2 11 2 1 3 general",
    "16 bits, deterministic": "float16 6x9,3x5 2 11 2 40 4 deterministic",
    "single channels, deterministic": "bfloat16 6x9,3x5 1 0 1 12 3 deterministic",
    "deterministic": "float32 6x9,3x5 1 0 1 32 2 deterministic",
    "levels that lie": "float32 6x9,3x5 1 0 1 32 2 lying",
    "more than 2^31 numbers": "float32 2048x2100 2 1 8 32 1 large",
}


@pytest.fixture(scope="session")
def emulation(tmp_path_factory):
    """The program, compiled with a sanitizer."""
    compiler = shutil.which("g++")
    if compiler is None or not all(path.exists() for path in SOURCES):
        pytest.skip("needs g++ and the kernels' sources")
    program = tmp_path_factory.mktemp("emulation") / "emulation"
    sanitizer = SANITIZERS[os.environ.get("DDETR_EMULATION_SANITIZER", "address")]
    command = [compiler, "-std=gnu++17", "-g1", "-w", *sanitizer, f"-I{NATIVE}", "-x", "c++"]
    subprocess.run([*command, NATIVE / "emulation.cpp", *SOURCES, "-o", program], check=True)
    return program


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_kernels_agree_with_float64(emulation, case):
    """Forward and backward; special locations (borders, NaN, far away) are every tenth."""
    run = subprocess.run(
        [emulation, *case.split()],
        capture_output=True,
        text=True,
        env={**os.environ, **OPTIONS},
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr[-4000:]
