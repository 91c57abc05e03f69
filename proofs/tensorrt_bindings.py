"""Every call of ddetr-export's TensorRT layer, against the real Python bindings of five versions.

The package index has the bindings without their libraries. Here the libraries are stubs compiled
from a few lines of C: nothing runs, but classes, overloads and enum members are TensorRT's own.

    python -m proofs.tensorrt_bindings [--slice]

What the layer touches of each version is kept in packages/ddetr-export/tests/tensorrt_api, of which
the tests' stand-in for TensorRT is made. The slice checks the layer against these files alone; the
whole proof reads the bindings again and says where a file is not what they are. ARGS=--only write
writes the files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from proofs.record import ROOT, MissingToolError, Proof, run_proof
from proofs.tensorrt_calls import Use, every_use, missing_of, names_in_adapter, trimmed

VERSIONS = {
    "8.6.1": "tensorrt-bindings==8.6.1",
    "10.0.1": "tensorrt-cu12-bindings==10.0.1",
    "10.16.1": "tensorrt-cu12-bindings==10.16.1.11",
    "11.0.0": "tensorrt-cu12-bindings==11.0.0.114",
    "11.4.0": "tensorrt-cu12-bindings==11.4.0.106",
}
API = ROOT / "packages/ddetr-export/tests/tensorrt_api"
DESCRIBE = Path(__file__).with_name("tensorrt_description.py")
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")
# What the bindings want of the libraries; the last four of the parsers that 8.6 still had.
SYMBOLS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL"),
    *("createInferRuntime_INTERNAL", "createNvOnnxParser_INTERNAL"),
    *("createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion"),
    *("getPluginRegistry", "getBuilderPluginRegistry", "initLibNvInferPlugins"),
    *("_ZN11nvuffparser15createUffParserEv", "_ZN14nvcaffeparser117createCaffeParserEv"),
    *(
        "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
        "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
    ),
)
# Which Python each version's wheels are for, the newest of them.
PYTHON = "3.11"
LONGEST_SECONDS = 600
# Calls that no version has: a check that lets them pass checks nothing.
WRONG = (
    Use("wrong", "wrong", "Builder", "create_network", 2),
    Use("wrong", "wrong", "Builder", "max_workspace_size", None),
    Use("wrong", "wrong", "OnnxParser", "parse", 1, ("name",)),
    Use("wrong", "wrong", "DataType", "TRIPLE", None),
)
LAYER_FORMATS = ("FLOAT", "HALF", "INT8")  # that layers_precision chooses among


def prove(proof: Proof) -> None:
    """Read the bindings, unless only a slice is wanted, and check what the layer takes of each."""
    if not proof.is_slice:
        for tool in ("uv", "gcc"):
            if shutil.which(tool) is None:
                raise MissingToolError(f"{tool} is not on the PATH")
    with tempfile.TemporaryDirectory(prefix="ddetr-tensorrt-") as folder:
        for version, package in VERSIONS.items():
            proof.tried.append(package)
            if not proof.is_slice:
                read_bindings(proof, version, package, Path(folder) / version)
            check_layer(proof, version)


def read_bindings(proof: Proof, version: str, package: str, folder: Path) -> None:
    """Compare the file of a version with its bindings, or write it."""
    description = describe(package, version, folder)
    path = API / f"{version}.json"
    if proof.only == "write":
        path.write_text(json.dumps(description, indent=1, sort_keys=True) + "\n", "utf-8")
    same = path.is_file() and json.loads(path.read_text("utf-8")) == description
    proof.require(same, "the file is what the bindings are", f"{path.name}: write it again")


def describe(package: str, version: str, folder: Path) -> dict[str, Any]:
    """Install the bindings into an environment of their own, and read what is in them."""
    python = folder / "bin" / "python"
    _run("uv", "venv", "--quiet", "--python", PYTHON, folder)
    _run("uv", "pip", "install", "--quiet", "--no-deps", "--python", python, package)
    _run("uv", "pip", "install", "--quiet", "--python", python, "numpy")
    libraries = folder / "stubs"
    libraries.mkdir()
    source = libraries / "stubs.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS))
    for name in LIBRARIES:
        target = libraries / f"lib{name}.so.{version.split('.')[0]}"
        _run("gcc", "-shared", "-fPIC", "-o", target, source)
    names = json.dumps(sorted(names_in_adapter()))
    ran = _run(python, "-I", DESCRIBE, names, LD_LIBRARY_PATH=str(libraries))
    return trimmed(json.loads(ran))


def check_layer(proof: Proof, version: str) -> None:
    """Each attribute that the layer takes is there, and each call is one that it has."""
    description = json.loads((API / f"{version}.json").read_text("utf-8"))
    uses = list(every_use(description, version))
    for use in uses:
        missing = missing_of(use, description)
        proof.require(not missing, f"{version}: what is taken", f"{use.where}: {missing}")
    for use in WRONG:
        found = bool(missing_of(use, description))
        proof.require(found, "a wrong call is seen", f"{version}: {use.owner}.{use.name} passes")
    for name in LAYER_FORMATS:
        there = name in description["enums"]["DataType"]
        proof.require(there, "formats of layers", f"{version}: DataType has no {name}")
    calls = sum(use.positional is not None for use in uses)
    proof.figures[version] = {"bindings": description["version"], "calls": calls}


def _run(*command: object, **variables: str) -> str:
    ran = subprocess.run(
        [str(word) for word in command],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    if ran.returncode:
        sys.stderr.write(ran.stderr)
        raise MissingToolError(f"{command[0]} failed, see above")
    return ran.stdout


if __name__ == "__main__":
    run_proof("tensorrt", "The TensorRT layer against the real bindings.", prove)
