"""Secrets in text: which names hold one, however they are mistyped, and stars in their place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

MASK = "***"
_SHORT_SECRET = 4  # characters; below it a secret is a part of many words
_NAME = "encryptionkey"
_LIKE_THE_NAME = 0.8
_SECRET_NAMES = re.compile(
    r"pass(word|phrase|wd|code)|secret|token|credential|signature|(api|access|private|enc\w*)key"
    r"|^(key|pwd|sig|auth)$"
)
_KEY = re.compile(r"""[\s+]*["']?[\w.\-\[\] ]+["']?\s*""")
_PAIR = re.compile(
    # Names of bounded length, tried where a word begins: linear in the length of the text.
    r"""(?P<name>["']?(?<![\w.\-])[\w.\-]{1,80}["']?)(?P<sign>\s*[=:]\s*)"""
    r"""(?P<value>"[^"]*"|'[^']*'|[^\s,;&{}\[\]()"']+)"""
)
# http://user:password@host, https://token@host, and https://host/file?token=...
_USER = re.compile(
    r"(?P<scheme>\b[A-Za-z][\w+.\-]{0,20}:/{1,3})(?P<user>[^\s/?#:@'\"]{0,200}:)[^\s/?#'\"]{0,500}@"
)
_TOKEN = re.compile(r"(?P<scheme>\bhttps?:/{1,3})[^\s/?#:@'\"]{1,500}@")
_QUERY = re.compile(r"(?P<name>(?<=[?&])[\w.\-]{1,80})=(?P<value>[^\s&#'\"]+)")


def is_secret_name(name: str) -> bool:
    """Whether a key of this name, or a part of a dotted one, holds a secret."""
    return any(map(_is_secret_word, re.split(r"[.\[\]]", name)))


def _is_secret_word(word: str) -> bool:
    plain = re.sub(r"[\W_]+", "", word).lower()
    if _SECRET_NAMES.search(plain):
        return True
    return SequenceMatcher(None, plain, _NAME).ratio() >= _LIKE_THE_NAME


def without_pairs(text: str) -> str:
    """Star out the value of each `name=value` and `name: value` whose name is that of a secret."""
    name, sign, value = text.partition("=")
    if sign and value and _KEY.fullmatch(name) and is_secret_name(name):
        return f"{name}={MASK}"

    def starred(found: re.Match[str]) -> str:
        is_secret = is_secret_name(found["name"])
        return f"{found['name']}{found['sign']}{MASK}" if is_secret else found.group()

    return without_passwords(_PAIR.sub(starred, text))


def without_passwords(text: str) -> str:
    """Star out passwords and signatures in URLs; the user's name and the rest stay."""
    if ":/" not in text:
        return text

    def starred(found: re.Match[str]) -> str:
        is_secret = is_secret_name(found["name"])
        return f"{found['name']}={MASK}" if is_secret else found.group()

    text = _USER.sub(rf"\g<scheme>\g<user>{MASK}@", text)
    return _QUERY.sub(starred, _TOKEN.sub(rf"\g<scheme>{MASK}@", text))


def masked(text: str, secrets: Iterable[str | None] = ()) -> str:
    """Star out these secrets, and every password in a URL.

    A short secret counts only as a word of its own, for "a" stands in "data" too.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        whole = re.escape(secret)
        if len(secret) < _SHORT_SECRET:
            whole = rf"(?<!\w){whole}(?!\w)"
        text = re.sub(whole, MASK, text)
    return without_passwords(text)
