"""Each subtask under strace: it asks no network, and writes where it may.

    python -m proofs.strace [--slice]

A small set is converted, trained on, scored, searched, exported and served. No call may connect to
anything but this machine, or send there; files may be made, changed or removed below the results
folder and the files that the spec names, the cache, and the folder for temporary files. Python's
own bytecode files are switched off.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from proofs.record import MissingToolError, Proof, run_proof
from proofs.small_project import ddetr, environment, make_project, write_toy_onnx

NETWORK_CALLS = "connect,sendto,sendmsg,sendmmsg,bind"
FILE_CALLS = (
    "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,"
    "symlink,symlinkat,truncate,chmod,fchmodat,mknod,mknodat"
)
WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND")
LINE = re.compile(r"^(\d+)\s+(.*)$")  # process, call
CUT, RESUMED = " <unfinished ...>", re.compile(r"^<\.\.\. \w+ resumed>")
CALL = re.compile(r"^(\w+)\((.*)\)\s+=\s+(-?\d+)")
INTERNET = re.compile(
    r"sa_family=AF_INET6?, .*?(?:inet_addr\(\"|inet_pton\(AF_INET6, \")([^\"]+)\""
)
PORT = re.compile(r"sin6?_port=htons\((\d+)\)")
QUOTED = re.compile(r'(?:AT_FDCWD<([^>]*)>, |\d+<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
DEVICES = ("/dev/", "/proc/self/", "/proc/thread-self/")
READY_SECONDS = 300.0
SERVED_SECONDS = 20.0  # what a library does in the background comes late


@dataclass(frozen=True)
class Traced:
    """A subtask, and where it may write below the project."""

    name: str
    words: Sequence[str]
    may_write: Sequence[str]
    in_slice: bool = False


SUBTASKS = (
    Traced("convert", ("convert", "-e", "convert.yaml"), ("results/convert",), in_slice=True),
    Traced("train", ("train", "-e", "spec.yaml"), ("results/train",)),
    Traced("evaluate", ("evaluate", "-e", "spec.yaml"), ("results/evaluate",)),
    Traced("inference", ("inference", "-e", "spec.yaml"), ("results/inference",)),
    Traced(
        "export",
        ("export", "-e", "spec.yaml"),
        ("results/export", "model.onnx", "model.certificate.json", ".ddetr-"),
    ),
    Traced(
        "inference of ONNX",
        ("inference", "-e", "spec.yaml", "inference.checkpoint=toy.onnx"),
        ("results/inference",),
        in_slice=True,
    ),
    Traced(
        "inference of ONNX in OpenVINO",
        (
            *("inference", "-e", "spec.yaml", "inference.checkpoint=toy.onnx"),
            *("inference.runtime=openvino", "inference.results_dir=results/openvino"),
        ),
        ("results/openvino",),
        in_slice=True,
    ),
    Traced("serve", ("serve", "toy.onnx", "--port", "0"), ()),
)


def prove(proof: Proof) -> None:
    """Trace the subtasks one after the other, in one project."""
    tracer = shutil.which("strace")
    if tracer is None:
        raise MissingToolError("strace is not installed; on Debian: apt-get install strace")
    with tempfile.TemporaryDirectory(prefix="ddetr-strace-") as name:
        project = Path(name).resolve()
        make_project(project)
        write_toy_onnx(project / "toy.onnx")
        for subtask in SUBTASKS:
            if subtask.in_slice or not proof.is_slice:
                _prove_one(proof, subtask, tracer, project)


def _prove_one(proof: Proof, subtask: Traced, tracer: str, project: Path) -> None:
    proof.tried.append(f"ddetr {' '.join(subtask.words)}")
    trace = project / "trace.txt"
    command = [tracer, "-f", "-qq", "-y", "-s", "300", "--seccomp-bpf", "-o", str(trace)]
    command += ["-e", f"trace={NETWORK_CALLS},{FILE_CALLS}", *ddetr(*subtask.words)]
    status, complaints = _run(command, project, until_ready=subtask.name == "serve")
    proof.require(status in (0, 130), subtask.name, f"exit status {status}: {complaints[-300:]}")
    allowed = [*subtask.may_write, "cache", "temporary"]
    allowed_paths = tuple(str(project / each) for each in allowed)
    calls = 0
    for name, arguments in _calls(trace.read_text("utf-8", "replace")):
        calls += 1
        if problem := _network_problem(arguments) or _file_problem(
            name, arguments, project, allowed_paths
        ):
            proof.failed(subtask.name, problem.replace(str(project), "PROJECT"))
    proof.require(calls > 0, f"{subtask.name}: calls looked at", "strace has seen nothing")
    proof.figures[subtask.name] = {"calls": calls}
    trace.unlink()


def _run(command: Sequence[str], project: Path, *, until_ready: bool) -> tuple[int, str]:
    """Run to the end, or until a server has said its address; then it is interrupted."""
    process = subprocess.Popen(
        command,
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        if until_ready:
            assert process.stdout is not None
            said, deadline = "", time.monotonic() + READY_SECONDS
            while "Ctrl+C" not in said and time.monotonic() < deadline:
                said += process.stdout.readline()
            time.sleep(SERVED_SECONDS)
            os.killpg(process.pid, signal.SIGINT)  # strace itself leaves it to the command
        _, complaints = process.communicate(timeout=READY_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode, complaints


def _calls(trace: str) -> Iterator[tuple[str, str]]:
    """Yield name and arguments of each call that succeeded, or that was to go out."""
    begun: dict[str, str] = {}  # calls that other processes have interrupted in the listing
    for line in trace.splitlines():
        if (found := LINE.match(line)) is None:
            continue
        process, call = found.groups()
        if call.endswith(CUT):
            begun[process] = call.removesuffix(CUT)
            continue
        if match := RESUMED.match(call):
            call = begun.pop(process, "") + call[match.end() :]
        if match := CALL.match(call):
            name, arguments, result = match.groups()
            if int(result) >= 0 or name in NETWORK_CALLS.split(","):
                yield name, arguments


def _network_problem(arguments: str) -> str:
    """Say what other machine a call names; "" for none."""
    match = INTERNET.search(arguments)
    if match is None or match[1].startswith("127.") or match[1] in ("::1", "0.0.0.0", "::"):
        return ""
    port = PORT.search(arguments)
    return f"asks the network: port {port[1] if port else 'unknown'}"


def _file_problem(name: str, arguments: str, project: Path, allowed_paths: tuple[str, ...]) -> str:
    """Say what is changed outside of the allowed paths; "" for nothing."""
    if name in NETWORK_CALLS.split(","):
        return ""
    if name.startswith("open") and not WRITING.search(arguments):
        return ""
    for match in QUOTED.finditer(arguments):
        whole = str(project / (match[1] or match[2] or "") / match[3])
        if whole != str(project / "results") and not whole.startswith((*DEVICES, *allowed_paths)):
            return f"{name} changes {whole}"
    return ""


if __name__ == "__main__":
    run_proof("strace", "Each subtask under strace.", prove)
