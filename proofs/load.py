"""`ddetr serve` under many clients on this machine: answers, memory, errors, and an end.

    python -m proofs.load [--slice]

Clients post whole images, damaged ones and forms, ask for health and metrics, and leave in the
middle of an upload. Whole images must get the same answer each time, or 503 when too many wait; the
server's memory must not grow; it may print no traceback and must end at Ctrl+C.

Then again, beside hundreds of connections of each kind of `proofs.bad_clients`: the others must
still be answered for half an hour, and memory, open files and what is written on the screen stay
bounded.
"""

from __future__ import annotations

import http.client
import io
import json
import random
import re
import signal
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from proofs.bad_clients import BAD_CLIENTS, UPLOAD
from proofs.record import Proof, run_proof
from proofs.small_project import ddetr, environment, write_toy_onnx

CLIENTS, SECONDS, BAD_SECONDS = 24, 60.0, 1800.0
SLICE_CLIENTS, SLICE_SECONDS, SLICE_BAD_SECONDS = 6, 3.0, 5.0
WARM_FRACTION = 0.2  # of the time, before memory is compared
MOST_GROWTH_MIB = 64
# Beside bad clients: 16 bodies of 20 MiB, an image of 100 megapixels, and what Python needs.
MOST_BESIDE_BAD_MIB = 320 + 400 + 128
MOST_FILES = 128 + 64  # connections, and what a process has open anyway
MOST_COMPLAINTS_BYTES = 100_000
LEAST_ANSWERED = 0.25  # of whole images; 503 is the answer to the others
# Of all clients, beside bad ones: who is still sending when the 503 comes may not read it.
MOST_CUT_OFF = 0.001
CUT_OFF = "cut off without an answer"
CURVE_POINTS = 20
PATIENCE_SECONDS = 120.0  # for a start and for one answer, on a busy machine
END_SECONDS = 10.0
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


@dataclass
class Told:
    """What the clients were told, together."""

    answers: dict[bytes, set[str]] = field(default_factory=dict)  # of each whole image
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


def prove(proof: Proof) -> None:
    """Serve the small detector and let the clients at it, without and with bad ones."""
    clients, seconds = (SLICE_CLIENTS, SLICE_SECONDS) if proof.is_slice else (CLIENTS, SECONDS)
    proof.tried.append(f"{clients} clients for {seconds:g} s")
    _prove_load(proof, clients, seconds)
    seconds = SLICE_BAD_SECONDS if proof.is_slice else BAD_SECONDS
    proof.tried.append(f"{SLICE_CLIENTS} clients beside bad ones for {seconds:g} s")
    _prove_beside_bad(proof, seconds)


def _prove_load(proof: Proof, clients: int, seconds: float) -> None:
    told = Told()
    with tempfile.TemporaryDirectory(prefix="ddetr-load-") as name, _served(Path(name)) as server:
        process, port = server
        deadline = time.monotonic() + seconds
        threads = _started(clients, port, deadline, told)
        time.sleep(seconds * WARM_FRACTION)
        before = _resident_mib(process.pid)
        for thread in threads:
            thread.join()
        growth = _resident_mib(process.pid) - before
        _, ended = _end(proof, process, port)
    _judge(proof, told)
    proof.require(growth < MOST_GROWTH_MIB, "memory", "the memory of the server grows")
    proof.require(not told.statuses[CUT_OFF], "answers", "a client is cut off without need")
    proof.figures |= {
        "grown_mib": round(growth, 1),
        "seconds_to_end": round(ended, 1),
        "median_milliseconds": round(statistics.median(told.seconds) * 1000, 1),
        "longest_milliseconds": round(max(told.seconds) * 1000, 1),
    }


def _prove_beside_bad(proof: Proof, seconds: float) -> None:
    told, opened, curve, files = Told(), Counter[str](), [], 0
    with tempfile.TemporaryDirectory(prefix="ddetr-load-") as name, _served(Path(name)) as server:
        process, port = server
        before, deadline = _resident_mib(process.pid), time.monotonic() + seconds

        def harm(kind: str) -> None:
            opened[kind] = BAD_CLIENTS[kind](port, deadline)

        threads = [threading.Thread(target=harm, args=(kind,)) for kind in BAD_CLIENTS]
        for thread in threads:
            thread.start()
        threads += _started(SLICE_CLIENTS, port, deadline, told)
        while time.monotonic() < deadline:
            curve.append(_resident_mib(process.pid) - before)
            files = max(files, len(list(Path(f"/proc/{process.pid}/fd").iterdir())))
            time.sleep(0.1)
        for thread in threads:
            thread.join()
        complaints, ended = _end(proof, process, port)
    _judge(proof, told)
    for kind, number in opened.items():
        proof.passed(f"bad: {kind}, connections", number)
    whole = {status: told.statuses[f"whole: HTTP {status}"] for status in (200, 503)}
    answered = whole[200] / max(1, sum(whole.values()))
    proof.require(
        max(curve) < MOST_BESIDE_BAD_MIB, "memory", "bad clients cost more memory than is allowed"
    )
    if not proof.is_slice:  # seconds are too few for a tendency
        third = len(curve) // 3
        growth = statistics.median(curve[-third:]) - statistics.median(curve[third : 2 * third])
        proof.require(growth < MOST_GROWTH_MIB, "memory", "bad clients let the memory grow")
    proof.require(files < MOST_FILES, "open files", "bad clients hold more files than is allowed")
    proof.require(answered >= LEAST_ANSWERED, "others", "bad clients keep the others out")
    cut_off = told.statuses[CUT_OFF] / told.statuses.total()
    proof.require(cut_off < MOST_CUT_OFF, "answers", "bad clients cut others off")
    proof.require(len(complaints) < MOST_COMPLAINTS_BYTES, "output", "bad clients fill the log")
    proof.figures["beside_bad_clients"] = {
        "memory_curve_mib": _thinned(curve),
        "most_files": files,
        "answered_fraction": round(answered, 3),
        "complaints_bytes": len(complaints),
        "seconds_to_end": round(ended, 1),
        "median_milliseconds": round(statistics.median(told.seconds) * 1000, 1),
        "longest_milliseconds": round(max(told.seconds) * 1000, 1),
    }


def _started(clients: int, port: int, deadline: float, told: Told) -> list[threading.Thread]:
    threads = [
        threading.Thread(target=_client, args=(port, number, deadline, told))
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    return threads


def _end(proof: Proof, process: subprocess.Popen[str], port: int) -> tuple[str, float]:
    """End the server in good order; give what it has complained of, and the seconds it took."""
    health = _ask(port, "GET", "/health", b"")[0]
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, complaints = process.communicate(timeout=PATIENCE_SECONDS)
    ended = time.monotonic() - started
    proof.require(health == 200, "health afterwards", f"health answers {health} afterwards")
    proof.require("Traceback" not in complaints, "output", "a traceback is printed")
    proof.require(ended < END_SECONDS, "end", f"Ctrl+C takes more than {END_SECONDS:g} s")
    return complaints, ended


def _thinned(curve: Sequence[float]) -> list[int]:
    """The largest value of each of a few equal parts of the time."""
    step = max(1, -(-len(curve) // CURVE_POINTS))
    return [round(max(curve[start : start + step])) for start in range(0, len(curve), step)]


def _judge(proof: Proof, told: Told) -> None:
    for status, number in told.statuses.items():
        proof.passed(status, number)
    for error, number in told.errors.items():
        for _ in range(number):
            proof.failed("client", error)
    for answers in told.answers.values():
        proof.require(len(answers) == 1, "image always answered alike", "an answer changes")
    proof.require(bool(told.answers), "images answered", "no image is answered")


@contextmanager
def _served(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start the command and yield it with its port."""
    write_toy_onnx(folder / "toy.onnx")
    process = subprocess.Popen(
        ddetr("serve", folder / "toy.onnx", "--port", "0"),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, _port_of(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _port_of(process: subprocess.Popen[str]) -> int:
    """Read what the command says until it says its address."""
    assert process.stdout is not None
    assert process.stderr is not None
    said = ""
    for line in process.stdout:
        said += line.strip()
        if match := ADDRESS.search(said):
            return int(match[1])
    raise RuntimeError(f"the server did not start: {process.stderr.read()}")


def _client(port: int, number: int, deadline: float, told: Told) -> None:
    """Ask until the deadline; what is asked depends on the client's number alone."""
    rng = random.Random(number)
    while time.monotonic() < deadline:
        kind = rng.choice(("whole", "whole", "whole", "damaged", "form", "view", "leaves"))
        try:
            _ask_one(port, kind, rng, told)
        except ConnectionError:
            with told.lock:
                told.statuses[CUT_OFF] += 1
        except (OSError, http.client.HTTPException, ValueError) as error:
            with told.lock:
                told.errors[f"{kind}: {type(error).__name__}"] += 1


def _ask_one(port: int, kind: str, rng: random.Random, told: Told) -> None:
    if kind == "leaves":
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as leaving:
            leaving.sendall(UPLOAD + b"Content-Length: 999\r\n\r\nab")
        with told.lock:
            told.statuses["leaves: in the middle"] += 1
        return
    image = _image(rng.randrange(8))
    method, path, body, headers, expected = {
        "whole": ("POST", "/predict?threshold=0", image, {}, (200, 503)),
        "damaged": ("POST", "/predict", image[: rng.randrange(len(image) // 2)], {}, (400, 503)),
        "form": ("POST", "/predict", image, {"Content-Type": "multipart/form-data"}, (415, 503)),
        "view": ("GET", rng.choice(("/", "/health", "/metrics")), b"", {}, (200, 503)),
    }[kind]
    started = time.monotonic()
    status, content = _ask(port, method, path, body, headers)
    spent = time.monotonic() - started
    with told.lock:
        told.seconds.append(spent)
        if status not in expected:
            told.errors[f"{kind}: HTTP status {status}"] += 1
            return
        told.statuses[f"{kind}: HTTP {status}"] += 1
        if kind == "whole" and status == 200:
            answer = json.loads(content)["detections"]
            told.answers.setdefault(image, set()).add(json.dumps(answer))


def _ask(
    port: int, method: str, path: str, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def _image(number: int) -> bytes:
    """One of a few images, the same bytes for the same number."""
    from PIL import Image

    content = io.BytesIO()
    size = (40 + 100 * number, 30 + 80 * number)
    Image.new("RGB", size, (30 * number, 90, 200)).save(content, ("PNG", "JPEG")[number % 2])
    return content.getvalue()


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory")


if __name__ == "__main__":
    run_proof("load", "`ddetr serve` under many clients.", prove)
