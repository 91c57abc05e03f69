"""The page of the server: one text, and a policy that lets nothing else into it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources

__all__ = ["Page", "read_page"]

_MARKS = {"page.css": "/* style */", "page.js": "/* script */"}


@dataclass(frozen=True)
class Page:
    """What is sent for `/`."""

    text: str
    headers: dict[str, str]


def read_page() -> Page:
    """Put style and script into the page, and name their digests in its policy.

    A script or a style that somebody else got into the page does not run; nothing is fetched from
    elsewhere, and no other page shows this one in a frame.
    """
    folder = resources.files("ddetr_export.serving")
    text = folder.joinpath("page.html").read_text("utf-8")
    digests = {}
    for name, mark in _MARKS.items():
        part = folder.joinpath(name).read_text("utf-8")
        text = text.replace(mark, part)
        digests[name] = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
    policy = (
        "default-src 'none'; connect-src 'self'; img-src 'self' blob: data:; "
        f"style-src 'sha256-{digests['page.css']}'; script-src 'sha256-{digests['page.js']}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
    return Page(text, headers)
