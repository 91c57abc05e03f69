"""Which Host headers are answered: a page of another site that points its name here gets nothing.

Such a page's script would else read the answers as if they were of its own site (DNS rebinding).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["ANY_HOST", "HostCheck"]

ANY_HOST = "*"
_HOST = re.compile(r"(\[[0-9a-f:.%]+\]|[^\s\[\]:@/?#]+)(?::\d*)?", re.IGNORECASE)
_MOST_SHOWN = 100


class HostCheck:
    """Answers requests that were sent to loopback, to where they came in, or to a name given.

    A request without the header (HTTP/1.0, no browser) is answered too.
    """

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._is_any = ANY_HOST in names
        self._names = {_normal(name) for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or answer 400 or 421."""
        given = dict(scope.get("headers", ())).get(b"host", b"").decode("latin-1").strip()
        if scope["type"] != "http" or self._is_any or not given:
            return await self._app(scope, receive, send)
        from starlette.responses import JSONResponse

        match = _HOST.fullmatch(given)
        if match is None:
            refusal = JSONResponse({"detail": "the Host header is no name of a machine"}, 400)
            return await refusal(scope, receive, send)
        name = _normal(match[1])
        if name in self._names or _is_loopback(name) or name == _came_in_at(scope):
            return await self._app(scope, receive, send)
        text = (
            f"this server does not answer for the host {name[:_MOST_SHOWN]}; --allow-host adds it"
        )
        return await JSONResponse({"detail": text}, 421)(scope, receive, send)


def _normal(name: str) -> str:
    """One spelling of a name or an address."""
    bare = name.strip().strip("[]").rstrip(".").lower()
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _came_in_at(scope: dict[str, Any] | Scope) -> str | None:
    """This machine's address that the connection was made to."""
    server = scope.get("server")
    return _normal(str(server[0])) if server else None
