"""Clients that are slow, many, damaged or gone, and what the others notice of them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

PROGRAM = """
import resource, sys
from ddetr_export import open_detector, serve
model, files, changes = sys.argv[1], int(sys.argv[2]), eval(sys.argv[3])
if files:
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
serve(
    open_detector(model), port=0, **changes,
    on_ready=lambda address: print(address, flush=True),
    on_notice=lambda text: print("notice:", text, file=sys.stderr, flush=True),
)
"""
PATIENCE_SECONDS = 60
HALF_OF_HEADERS = b"GET /health HTTP/1.1\r\nHost: local"
UPLOAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"


class Served:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.port = int(re.search(r":(\d+)$", process.stdout.readline().strip())[1])

    def connect(self, content: bytes) -> socket.socket:
        """Open a connection and send something."""
        client = socket.create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS)
        client.sendall(content)
        return client

    def ask(self, method: str = "GET", path: str = "/health", body: bytes = b"", **headers: str):
        """Give the status and the answer, read if it is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        content = reply.read().decode()
        connection.close()
        is_json = reply.getheader("Content-Type") == "application/json"
        return reply.status, json.loads(content) if is_json else content

    def stop(self, number: int = signal.SIGTERM) -> str:
        """End it and give what it has complained of."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=PATIENCE_SECONDS)[1]


@pytest.fixture
def served(toy_onnx):
    """Serve with changes to the config; `files` is the most that the process may open."""

    @contextmanager
    def start(files: int = 0, **changes: object):
        command = [sys.executable, "-c", PROGRAM, str(toy_onnx()), str(files), repr(changes)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment, **pipes)
        try:
            yield Served(process)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()

    return start


def everything(client: socket.socket) -> bytes:
    """What is sent until the server closes the connection."""
    blocks = []
    with client, suppress(ConnectionResetError):  # it may have sent what is not read any more
        while block := client.recv(65536):
            blocks.append(block)
    return b"".join(blocks)


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (HALF_OF_HEADERS, b"408", b"the headers of the request took longer than 0.5 s to come"),
        (UPLOAD + b"Content-Length: 9\r\n\r\nab", b"408", b"the image took longer than 0.5 s"),
        (UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", b"408", b"the image took"),
        (UPLOAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n", b"400", b"Invalid HTTP request"),
        (UPLOAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nab", b"400", b"Invalid HTTP"),
        (UPLOAD + b"Content-Length: 999999999\r\n\r\nab", b"413", b"at most 20 MiB"),
        (UPLOAD + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\n", b"415", b"Encoding"),
        (UPLOAD + b"X: " + b"a" * 20_000 + b"\r\n\r\n", b"431", b"at most 16 KiB"),
        (UPLOAD + b"X:\r\n" * 10_000 + b"\r\n", b"431", b"at most 16 KiB"),
        (UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 999, b"400", b"small"),
        (b"", b"", b""),
    ],
    ids=[
        "head",
        "body",
        "chunks",
        "damage",
        "lengths",
        "size",
        "coding",
        "long head",
        "lines",
        "tiny",
        "silence",
    ],
)
def test_nobody_is_waited_for_without_end(served, content, status, sentence) -> None:
    """One sentence, then the connection is closed, whatever the client has begun."""
    with served(header_seconds=0.5, body_seconds=0.5) as server:
        answer = everything(server.connect(content))
        assert answer[len(b"HTTP/1.1 ") :].startswith(status)
        assert sentence in answer
        assert server.ask()[0] == 200


def test_an_endless_body_behind_an_answer_is_cut_off(served) -> None:
    """Bytes that come do not give more time."""
    with served(header_seconds=0.5) as server:
        client = server.connect(UPLOAD.replace(b"/predict", b"/health"))
        client.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        with suppress(ConnectionResetError, BrokenPipeError):
            while True:
                client.sendall(b"1\r\nx\r\n")
        client.close()
        assert server.ask()[0] == 200


def test_a_connection_without_a_request_gives_way(served) -> None:
    """Others are answered, whoever holds how many connections."""
    with served(max_connections=4) as server, ExitStack() as clients:
        silent = [clients.enter_context(server.connect(HALF_OF_HEADERS)) for _ in range(20)]
        assert server.ask()[0] == 200
        answers = [everything(client) for client in silent[:15]]
        assert all(b"HTTP/1.1 503" in answer or not answer for answer in answers)


def test_who_gives_way_is_told_unless_he_has_had_an_answer(served) -> None:
    """A first request may be on its way; a second one would take the sentence for its answer."""
    with served(max_connections=2) as server:
        new = server.connect(b"")
        answered = server.connect(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answered.recv(65536).startswith(b"HTTP/1.1 200")
        others = [server.connect(b"") for _ in range(2)]
        assert everything(new).startswith(b"HTTP/1.1 503")
        assert b"503" not in everything(answered)
        for other in others:
            other.close()


def test_too_many_connections_get_a_sentence(served) -> None:
    """When all have a request under way."""
    with served(max_connections=1) as server:
        busy = server.connect(UPLOAD + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        assert b"100 Continue" in busy.recv(1000)
        answer = everything(server.connect(b""))
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"1 clients are connected already" in answer
        busy.close()


def test_a_stalled_upload_keeps_nobody_out(served) -> None:
    """No body is read without a slot, and no slot is kept by who does not send."""
    with served(max_waiting=1) as server:
        head = UPLOAD + b"Content-Length: 999\r\n"
        stalled = server.connect(head + b"Expect: 100-continue\r\n\r\n")
        assert b"100 Continue" in stalled.recv(1000)
        status, answer = server.ask("POST", "/predict", b"no image")
        assert (status, answer["detail"]) == (503, "1 images wait already; try again in a moment")
        while status == 503:
            status, answer = server.ask("POST", "/predict", b"no image")
        assert (status, "no image of a known kind" in answer["detail"]) == (400, True)
        stalled.sendall(bytes(999))
        assert stalled.recv(1000).startswith(b"HTTP/1.1 400")
        stalled.close()


def test_stalled_uploads_share_a_bounded_memory(served) -> None:
    """That of one more ends another, whose client is told."""
    with served(max_waiting=1, max_upload_mib=1) as server, ExitStack() as clients:
        for _ in range(8):
            client = clients.enter_context(
                server.connect(UPLOAD + b"Content-Length: 999999\r\n\r\n")
            )
            client.sendall(bytes(600_000))
            status = 503
            while status == 503:  # until this one is slow
                status, _ = server.ask("POST", "/predict", b"no image")
        assert status == 400
        assert "ddetr_requests_in_flight 1\n" in server.ask(path="/metrics")[1]


def test_few_files_are_enough(served) -> None:
    """It takes fewer connections, says so, and others are answered."""
    with served(files=100) as server, ExitStack() as clients:
        for _ in range(150):
            clients.enter_context(server.connect(HALF_OF_HEADERS))
        assert server.ask()[0] == 200
        complaints = server.stop()
    assert "this process may open 100 files (ulimit -n)" in complaints
    assert len(complaints) < 2000


def test_repeated_faults_fill_no_log(served) -> None:
    """A few lines of the same fault are written, the others are not."""
    with served() as server:
        for _ in range(300):
            assert everything(server.connect(b"\0\r\n\r\n")).startswith(b"HTTP/1.1 400")
        complaints = server.stop()
    assert 0 < complaints.count("Invalid HTTP request") < 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_is_told_and_bounded(served, number) -> None:
    """Requests under way get an answer within the time that they have."""
    with served(stop_seconds=1) as server, ExitStack() as clients:
        slow = server.connect(UPLOAD + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n")
        assert b"100 Continue" in slow.recv(1000)
        clients.enter_context(server.connect(HALF_OF_HEADERS))
        started = time.monotonic()
        complaints = server.stop(number)
        assert time.monotonic() - started < 10
        assert "notice: the server stops; requests under way, 1, have 1 s to end" in complaints
        assert b"the server stops; try again in a moment" in everything(slow)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("[::1]:1", 200),
        ("detector.example", 200),
        ("DETECTOR.example.:80", 200),
        ("rebound.example", 421),
        ("192.0.2.1", 421),
        ("localhost.example", 421),
        ("a@localhost", 400),
        ("[::1", 400),
    ],
)
def test_other_names_are_not_answered_for(toy_onnx, host, status) -> None:
    """A site that points its own name here cannot read the answers."""
    pytest.importorskip("httpx")
    from fastapi.testclient import TestClient

    from ddetr_export import create_app, open_detector

    names = ["localhost", "detector.example"]
    client = TestClient(create_app(open_detector(toy_onnx()), allow_host=names))
    reply = client.get("/health", headers={"host": host})
    assert reply.status_code == status
    assert (status == 200) != ("detail" in reply.json())


def test_the_address_of_the_connection_is_a_name_too(served) -> None:
    """A server on every address answers for the one that was asked."""
    with served(host="0.0.0.0") as server:
        assert server.ask(host="127.0.0.1")[0] == 200
        status, answer = server.ask(host="rebound.example")
        assert (status, "--allow-host" in answer["detail"]) == (421, True)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"max_waiting": 0}, "max_waiting must be a whole number from 1 to 32, got 0"),
        ({"max_waiting": 2.5}, "max_waiting must be a whole number from 1 to 32, got 2.5"),
        ({"body_seconds": float("nan")}, "body_seconds must be a number from 0.1 to 3600, got nan"),
    ],
)
def test_limits_have_ranges(changes, sentence) -> None:
    """A value outside of them is one sentence."""
    from ddetr_export.serving import ServeConfig

    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        ServeConfig(**changes)
