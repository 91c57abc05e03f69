"""The connections of a server: a bounded number, and none that waits for ever."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ddetr_export.serving.config import ServeConfig

__all__ = ["ConnectionPool", "connection_class"]

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_SMALL_CHUNK_BYTES = 128
_SMALL_CHUNKS = 256  # of a body


class ConnectionPool:
    """So many connections; the one that has waited longest for a request makes room for another."""

    def __init__(self, most: int, config: ServeConfig) -> None:
        """Bound a server's connections.

        Args:
            most: Connections at a time.
            config: Times for headers, and for answers to be taken.
        """
        self.most = most
        self.config = config
        self._open: set[_Connection] = set()
        self._waiting: dict[_Connection, None] = {}  # without a request, the oldest first

    def enter(self, connection: _Connection) -> bool:
        """Take a connection in, unless all are busy."""
        if len(self._open) >= self.most:
            oldest = next(iter(self._waiting), None)
            if oldest is None:
                return False
            self.leave(oldest)
            oldest.make_room()
        self._open.add(connection)
        return True

    def leave(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def wait(self, connection: _Connection) -> None:
        """Note that a connection has no request."""
        if connection in self._open:
            self._waiting[connection] = None

    def work(self, connection: _Connection) -> None:
        """Note that a connection has a request."""
        self._waiting.pop(connection, None)


class _HttpState(h11.Connection):
    """HTTP as h11 reads it, without what would take long to read: it is Python, and others wait.

    Headers are bounded even where they come in one piece, and a body is not cut into tiny
    chunks. `fault` says, with a status, what was too much.
    """

    def __init__(self, most_head_bytes: int) -> None:
        super().__init__(h11.SERVER, max_incomplete_event_size=most_head_bytes)
        self._most_head_bytes = most_head_bytes
        self._chunks_left = _SMALL_CHUNKS
        self.fault: tuple[int, str] | None = None

    def next_event(self) -> Any:
        """Give the next event.

        Raises:
            RemoteProtocolError: what came is no HTTP, or takes too long to read.
        """
        if self.their_state is h11.IDLE:
            self._check_headers()
            self._chunks_left = _SMALL_CHUNKS
        event = super().next_event()
        if isinstance(event, h11.Data) and event.chunk_start:
            self._chunks_left += min(0, len(event.data) // _SMALL_CHUNK_BYTES - 1)
            if self._chunks_left < 0:
                self._refuse(400, "the chunks of the body are too small")
        return event

    def _check_headers(self) -> None:
        begun = self.trailing_data[0]
        if len(begun) > self._most_head_bytes:
            end = _END_OF_HEAD.search(begun)
            if end is None or end.end() > self._most_head_bytes:
                most = self._most_head_bytes >> 10
                self._refuse(431, f"the headers of a request may have at most {most} KiB")

    def _refuse(self, status: int, text: str) -> None:
        self.fault = status, text
        raise h11.RemoteProtocolError(text, error_status_hint=status)


class _Connection(H11Protocol):
    """Uvicorn's connection, in a pool and with a time for the headers of each request.

    The time begins with the connection, and again with the end of each answer; bytes that come do
    not begin it anew. It also ends what a client goes on sending after an answer, and an answer
    that is not taken.
    """

    pool: ClassVar[ConnectionPool]

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn: _HttpState = _HttpState(self.pool.config.max_header_kib << 10)
        self._application: Callable[..., Awaitable[None]] = self.app
        self.app = self._answer
        self._has_asked = False
        self._answering = 0  # pipelined requests may overlap
        self._lost = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or say that there are too many."""
        super().connection_made(transport)
        if self.pool.enter(self):
            self._wait()
        else:
            self._say(503, f"{self.pool.most} clients are connected already; try again in a moment")
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._lost.set()
        self._stop_timer()
        self.pool.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; damage behind an answer ends the connection without another answer."""
        try:
            super().data_received(data)
        except h11.LocalProtocolError:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; what is too much of it gets its own sentence."""
        if self.conn.fault is None:
            super().send_400_response(msg)
        elif self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._say(*self.conn.fault)
            self.transport.close()
        else:
            self.transport.abort()

    def make_room(self) -> None:
        """End the connection for another client's sake.

        A first request may be on its way, so one without any gets the sentence too. Who has had an
        answer gets none: a client could take it for that of its next request, which was not read.
        """
        text = "another client needs the connection; try again in a moment"
        self._dismiss(503, text, is_told=self._has_begun() or not self._has_asked)

    def _has_begun(self) -> bool:
        """Whether a part of a request's headers has come."""
        return self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0])

    def _dismiss(self, status: int, text: str, *, is_told: bool) -> None:
        if is_told:
            self._say(status, text)
        if self.transport.get_write_buffer_size():  # nobody takes it
            self.transport.abort()
        else:
            self.transport.close()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_in_time(message: Any) -> None:
            abortion = self.loop.call_later(self.pool.config.body_seconds, self.transport.abort)
            try:
                if not self.transport.is_closing():
                    await send(message)
            except h11.LocalProtocolError:  # damage of the request was answered meanwhile
                self.transport.abort()
            finally:
                if self.transport.is_closing():
                    await self._lost.wait()  # uvicorn takes only a lost one for the client's fault
                abortion.cancel()

        self._has_asked = True
        self._answering += 1
        self._stop_timer()
        self.pool.work(self)
        try:
            await self._application(scope, receive, send_in_time)
        finally:
            self._answering -= 1
            if not self._answering and not self._lost.is_set():
                self._wait()

    def _wait(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.pool.config.header_seconds, self._end_waiting)
        self.pool.wait(self)

    def _end_waiting(self) -> None:
        seconds = self.pool.config.header_seconds
        text = f"the headers of the request took longer than {seconds:g} s to come"
        self._dismiss(408, text, is_told=self._has_begun())

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _say(self, status: int, text: str) -> None:
        """Answer past HTTP's state, for a request that is not whole or not read."""
        content = json.dumps({"detail": text}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n"
        )
        retry = "Retry-After: 1\r\n" if status == 503 else ""
        self.transport.write(f"{head}{retry}\r\n".encode() + content)


def connection_class(pool: ConnectionPool) -> type[_Connection]:
    """Make uvicorn's class of connections for one server."""
    return type("_PoolConnection", (_Connection,), {"pool": pool})
