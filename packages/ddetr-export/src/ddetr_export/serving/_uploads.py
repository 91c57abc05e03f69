"""Reading the image of a request: refused early, in bounded time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from ddetr_export.serving.admission import Admission, Slot
from ddetr_export.serving.config import ServeConfig

if TYPE_CHECKING:
    from fastapi import Request

__all__ = ["RefusedError", "check_headers", "uploaded"]

_PLAIN = ("", "identity")


class RefusedError(Exception):
    """A request that is not looked at further."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def check_headers(request: Request, config: ServeConfig) -> None:
    """Refuse what its headers alone tell: forms, compressed bodies and files too large."""
    if request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        raise RefusedError(415, "post the image file itself as the body, not a form")
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in _PLAIN:
        raise RefusedError(415, "post the image file as it is, without a Content-Encoding")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > config.upload_bytes:
        raise _too_large(config)


@asynccontextmanager
async def uploaded(
    request: Request, admission: Admission, config: ServeConfig
) -> AsyncIterator[bytes]:
    """Hold a slot, and give the body; no more of it is read, nor for longer, than is allowed.

    Raises:
        BusyError: there is no slot, or no memory.
        RefusedError: it is too large or too slow, another request needs its memory more, or the
            client has left.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    with admission.take(partial(loop.call_soon_threadsafe, ended.set)) as slot:
        reading = asyncio.ensure_future(_read(request, admission, slot, config))
        ending = asyncio.ensure_future(ended.wait())
        try:
            await asyncio.wait(
                {reading, ending},
                timeout=config.body_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not reading.done() and ended.is_set():
                raise RefusedError(503, "the image came too slowly for how many others there are")
            if not reading.done():
                seconds = config.body_seconds
                raise RefusedError(408, f"the image took longer than {seconds:g} s to come")
            content = reading.result()
        finally:
            reading.cancel()
            ending.cancel()
        admission.finish(slot)
        del reading  # it would keep the body
        yield content


async def _read(request: Request, admission: Admission, slot: Slot, config: ServeConfig) -> bytes:
    from starlette.requests import ClientDisconnect

    content = bytearray()
    try:
        async for block in request.stream():
            if len(content) + len(block) > config.upload_bytes:
                raise _too_large(config)
            admission.receive(slot, len(block))
            content += block
    except ClientDisconnect:
        raise RefusedError(400, "the client left before its image was whole") from None
    return bytes(content)


def _too_large(config: ServeConfig) -> RefusedError:
    return RefusedError(413, f"an image file may have at most {config.max_upload_mib} MiB")
