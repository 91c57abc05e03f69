"""The server around the application: its socket, its connections and its end."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ddetr_export.runtime import OnnxDetector
from ddetr_export.serving._log_rate import few_log_records
from ddetr_export.serving.app import create_app
from ddetr_export.serving.config import ServeConfig

if TYPE_CHECKING:
    import uvicorn

_ACCEPTED_AT_ONCE = 8  # connections that may be open before they are counted, in one turn
_TURNS = 3  # of the event loop between accepting a connection and counting it, or closing one
_OTHER_FILES = 8  # that the process may open while it serves
_M_MMAP_THRESHOLD, _LARGE_BYTES = -3, 2**20
_LAST_WORDS_SECONDS = 1.0
_QUEUED = 512  # connections that the kernel holds until they are accepted


def serve(
    detector: OnnxDetector,
    config: ServeConfig | None = None,
    *,
    on_ready: Callable[[str], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
    **changes: Any,
) -> None:
    """Answer until interrupted or terminated; see `create_app` for what is answered.

    Requests under way then have the config's stop_seconds to end.

    Args:
        detector: What answers.
        config: Where to listen, and the limits.
        on_ready: Called with the page's address once requests are taken.
        on_notice: Called with a sentence for the person: fewer connections than the config's, and
            how the server stops.
        changes: Fields of `ServeConfig` instead of the config's.

    Raises:
        ValueError: the extra is missing, a value is outside of its range, the address cannot be
            listened at, or this process may open too few files.
    """
    config = replace(config or ServeConfig(), **changes)
    names = ["localhost", config.host, *(config.allow_host or ())]
    app = create_app(detector, replace(config, allow_host=names))
    import uvicorn

    from ddetr_export.serving._connections import ConnectionPool, connection_class

    _return_freed_memory()
    tell = on_notice or (lambda _text: None)
    with (
        _listener(config.host, config.port) as listener,
        few_log_records("uvicorn.error", "asyncio"),
    ):
        pool = ConnectionPool(_connections_allowed(config, tell), config)
        settings = uvicorn.Config(
            app,
            http=connection_class(pool),
            loop="asyncio",
            ws="none",
            lifespan="off",
            access_log=False,
            proxy_headers=False,
            log_level="warning",
            backlog=_ACCEPTED_AT_ONCE,
            h11_max_incomplete_event_size=config.max_header_kib << 10,
            timeout_keep_alive=config.keep_alive_seconds,
            timeout_graceful_shutdown=config.stop_seconds,
        )
        if on_ready is not None:
            on_ready(f"http://{_in_address(config.host)}:{listener.getsockname()[1]}")
        _server(settings, tell).run(sockets=[listener])


def _server(settings: uvicorn.Config, tell: Callable[[str], None]) -> uvicorn.Server:
    """Make a server that has a long queue of connections, and says that it stops."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for each in sockets or ():
                each.listen(_QUEUED)  # asyncio's backlog is also what it accepts in one turn

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            number, seconds = len(self.server_state.tasks), self.config.timeout_graceful_shutdown
            work = f"; requests under way, {number}, have {seconds} s to end" if number else ""
            tell(f"the server stops{work}")
            await super().shutdown(sockets)
            if self.server_state.tasks:  # those cancelled still tell their clients so
                await asyncio.wait(self.server_state.tasks, timeout=_LAST_WORDS_SECONDS)

    return Server(settings)


def _connections_allowed(config: ServeConfig, tell: Callable[[str], None]) -> int:
    """Most connections for which this process may open files."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return config.max_connections
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return config.max_connections
    kept = _open_files() + _ACCEPTED_AT_ONCE * _TURNS + _OTHER_FILES
    if allowed <= kept:
        raise ValueError(
            f"this process may open {allowed} files, serving needs more than {kept}: "
            "raise the limit (ulimit -n)"
        )
    if allowed - kept < config.max_connections:
        tell(
            f"at most {allowed - kept} connections at a time, not {config.max_connections}: "
            f"this process may open {allowed} files (ulimit -n)"
        )
    return min(config.max_connections, allowed - kept)


def _open_files() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))
    return 64  # as many as a Python with such libraries may have


def _return_freed_memory() -> None:
    """Have the C library hand buffers of bodies and images back to the system at once.

    glibc keeps what is freed once it has seen large buffers go, and their pieces add up.
    """
    with suppress(OSError, AttributeError, TypeError):  # another library, another system
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason, _, _ = (error.strerror or str(error)).partition(" (while")  # names it again
        raise ValueError(f"cannot listen at {_in_address(host)}:{port}: {reason}") from error


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host
