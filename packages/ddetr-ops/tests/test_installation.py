"""What a fresh process finds: PyTorch with a name less, no native part; and what it loads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ddetr_ops

FOLDER = Path(ddetr_ops.__file__).parent
PROBLEM = ddetr_ops.doctor(self_test=False).problems["cpu"]
native = pytest.mark.skipif(bool(PROBLEM), reason=PROBLEM or "native")

EXCHANGE = "torch.Tensor.__dlpack_c_exchange_api__"
HAS_EXCHANGE = hasattr(torch.Tensor, EXCHANGE.rpartition(".")[2])
WATCHERS = (
    "torch._C._len_torch_dispatch_stack",
    "torch._C._are_functorch_transforms_active",
    "torch.autograd.forward_ad._current_level",
    EXCHANGE,
)
KEY = "torch._C.DispatchKey.FuncTorchDynamicLayerFrontMode"

RUN = """
import ddetr_ops, sys, torch, warnings
random = torch.Generator().manual_seed(0)
value = torch.randn(2, 15, 2, 8, generator=random).requires_grad_()
locations = torch.rand(2, 7, 2, 2, 4, 2, generator=random).requires_grad_()
weights = torch.rand(2, 7, 2, 2, 4, generator=random).requires_grad_()

def run(backend):
    arguments = value, [(3, 4), (1, 3)], None, locations, weights
    output = ddetr_ops.ms_deform_attn(*arguments, backend=backend)
    return output, *torch.autograd.grad(output.square().sum(), (value, locations, weights))

def agree(backend):
    pairs = zip(run(backend), run("reference"), strict=True)
    return all(torch.allclose(one, other, rtol=1e-4, atol=1e-5) for one, other in pairs)
"""
# PyTorch itself needs its names: each is away only while ddetr_ops looks for it, in a child.
WITHOUT_EACH = """
import os, sys, torch
for path in {paths}:
    sys.stdout.flush()
    child = os.fork()
    if not child:
        break
    if os.waitpid(child, 0)[1]:
        sys.exit("failed without " + path)
else:
    sys.exit()
owner, _, name = path.rpartition(".")
owner = eval(owner)
kept = getattr(owner, name, None)
if kept is not None:  # else this PyTorch is one without it
    delattr(owner, name)
import ddetr_ops
if kept is not None:
    setattr(owner, name, kept)
"""
REPORT = """
with torch.autograd.profiler.profile(use_kineto=False) as profile:
    assert agree("native")
names = {event.name for event in profile.function_events}
through = {"ddetr_ops::ms_deform_attn", "ddetr_ops::ms_deform_attn_backward"} <= names
print(f"== {path} dispatched={through}", ddetr_ops.doctor(self_test=False), sep="\\n")
"""


def run_python(code: str, folder: Path = FOLDER) -> str:
    """What the code prints in a process of its own, with the package of this folder."""
    path = os.pathsep.join([str(folder.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def reports():
    """By each name that was away: whether the dispatcher was used, and the doctor's report."""
    said = run_python(WITHOUT_EACH.format(paths=(*WATCHERS, KEY)) + RUN + REPORT)
    return {part.partition(" ")[0]: part for part in said.split("== ")[1:]}


@native
@pytest.mark.parametrize("path", WATCHERS)
def test_without_a_private_name_calls_go_through_the_dispatcher(reports, path):
    """With the reference's results; the doctor says which name is missing and what follows."""
    assert "dispatched=True" in reports[path]
    said = re.search("has no (.*): calls on the CPU go through its dispatcher", reports[path])
    assert path in said[1].split(", ")


@native
def test_without_the_key_of_transforms_only_these_are_lost(reports):
    """Plain calls go as they do with it, and the doctor says what is refused."""
    assert f"dispatched={not HAS_EXCHANGE}" in reports[KEY]
    assert "torch.func (grad, vmap) does not take the operators" in reports[KEY]


@native
def test_this_torch_lacks_no_name():
    """Nothing takes a detour, but for the table that torch 2.9 and older lack; that is said."""
    # fault 51
    detours = ddetr_ops.doctor(self_test=False).detours
    assert len(detours) == (0 if HAS_EXCHANGE else 1)
    assert HAS_EXCHANGE or detours[0].partition(":")[0].endswith(f"has no {EXCHANGE}")


def test_only_one_module_asks_for_private_names():
    """Elsewhere a name that goes away would be an AttributeError."""
    private = re.compile(r"torch\._[a-z]|(?<!groundingdino\.)\b_C\b|forward_ad\._|\._schema")
    sources = FOLDER.rglob("*.py")
    found = [path.name for path in sources if private.search(path.read_text("utf-8"))]
    assert found == ["_torch_private.py"]


@native
def test_neither_import_nor_calls_load_the_compiler():
    """torch._dynamo costs seconds, which only who compiles has to spend."""
    loaded = "print('torch._dynamo' in sys.modules)\n"
    assert run_python(f"{RUN}{loaded}run('native')\n{loaded}").split() == ["False", "False"]


def test_a_missing_native_part_is_said_once(tmp_path):
    """ "auto" falls back with one warning, "native" refuses and says what to do."""
    folder = tmp_path / "ddetr_ops"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    code = """
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert agree("auto") and agree("auto")
print(*(it.message for it in caught), sep="\\n")
try:
    run("native")
except RuntimeError as error:
    print(error)
print(ddetr_ops.doctor(), ddetr_ops.doctor().healthy)
"""
    said = run_python(RUN + code, folder)
    assert said.count("ddetr-ops runs its slow PyTorch reference: this build of ddetr-ops") == 1
    assert "pass backend='reference'" in said
    assert "cpu: reference, for this build of ddetr-ops has no native part" in said
    assert said.strip().endswith("True")
