"""Clients that harm a server, by accident or not: kinds of them, each for a thread of its own.

Each kind takes a port and a time (of the monotonic clock) until which it goes on, and gives how
many connections it has opened.
"""

from __future__ import annotations

import socket
import struct
import time
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPConnection, HTTPException
from typing import TypeAlias

__all__ = ["BAD_CLIENTS", "UPLOAD", "BadClients"]

BadClients: TypeAlias = Callable[[int, float], int]

PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 5.0
MIB = 2**20
UPLOAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n"
FORM = (
    UPLOAD + b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 999\r\n\r\n--y\r\n"
)


def hold(first: bytes, more: bytes, number: int, port: int, deadline: float) -> int:
    """Hold so many connections; each begins with `first`, sends `more` now and then, and waits."""
    held: list[socket.socket] = []
    opened = 0
    while time.monotonic() < deadline:
        while len(held) < number and time.monotonic() < deadline:
            held += opened_with(first, port)
            opened += 1
        held = [each for each in held if goes_on(each, more)]
        time.sleep(PAUSE_SECONDS)
    for each in held:
        each.close()
    return opened


def opened_with(first: bytes, port: int) -> list[socket.socket]:
    """One connection that has sent its first bytes, or none if the server ends it before."""
    client = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
    try:
        client.sendall(first)
    except OSError:
        client.close()
        return []
    client.setblocking(False)
    return [client]


def goes_on(client: socket.socket, more: bytes) -> bool:
    """Send more and read what is answered; false, and closed, if the server has closed it."""
    try:
        if more:
            client.send(more)
        if client.recv(65536):
            return True
    except BlockingIOError:
        return True
    except OSError:
        pass
    client.close()
    return False


def post_again(content: bytes, port: int, deadline: float) -> int:
    """Post the same file again and again; whatever is answered is right."""
    posted = 0
    while time.monotonic() < deadline:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("POST", "/predict", content)
            connection.getresponse().read()
        except (OSError, HTTPException):
            pass
        finally:
            connection.close()
        posted += 1
        time.sleep(PAUSE_SECONDS)
    return posted


def png(width: int, height: int) -> bytes:
    """A black PNG of any size; its pixels are not whole where they would be many."""
    rows = bytes(min(height * (1 + width), 40 * MIB))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


BAD_CLIENTS: Mapping[str, BadClients] = {
    "silent connections": partial(hold, b"", b"", 100),
    "half of the headers": partial(hold, b"GET /health HTTP/1.1\r\nHost: local", b"", 100),
    "headers byte by byte": partial(hold, b"G", b"E", 20),
    "long headers": partial(hold, b"GET / HTTP/1.1\r\nX: ", b"a" * 4000, 5),
    "idle connections": partial(hold, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"", 50),
    "bodies byte by byte": partial(hold, UPLOAD + b"Content-Length: 99999\r\n\r\n", b"x", 40),
    "stalled uploads": partial(
        hold, UPLOAD + b"Content-Length: 20000000\r\n\r\n" + bytes(12 * MIB), b"", 40
    ),
    "endless tiny chunks": partial(hold, CHUNKED, b"1\r\nx\r\n" * 1000, 3),
    "endless chunks": partial(hold, CHUNKED, b"8000\r\n" + bytes(0x8000) + b"\r\n", 3),
    "damaged chunks": partial(hold, CHUNKED + b"ZZ\r\n", b"", 3),
    "damaged forms": partial(hold, FORM, b"", 3),
    "no HTTP": partial(hold, b"\x16\x03\x01\x00\r\n\r\n", b"", 3),
    "thin images": partial(post_again, png(1, 99_999_999)),
    "images that lie about their size": partial(post_again, png(9_999, 10_000)),
    "large images": partial(post_again, png(6_000, 5_000)),
}
