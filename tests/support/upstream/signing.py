"""Signatures of thinking: what the Anthropic fake issues, and later accepts byte for byte or refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac

_SECRET = b"the fake's own"


def signature(thinking: str) -> str:
    """The signature of a thinking text. It holds the characters + / = and is long, as the real ones."""
    marks = b"".join(
        hmac.digest(_SECRET, bytes((k,)) + thinking.encode("utf-8", "surrogatepass"), hashlib.sha256)
        for k in range(4)
    )
    return base64.b64encode(b"\xfb\xff\xfe" + marks + b"\x00").decode()


def redacted(thinking: str) -> str:
    """The data of a redacted thinking block: opaque, and checkable."""
    text = thinking.encode("utf-8", "surrogatepass")
    return base64.b64encode(
        hmac.digest(_SECRET, text, hashlib.sha256) + bytes(byte ^ 0x5A for byte in text)
    ).decode()


def redacted_is_ours(data: str) -> bool:
    try:
        raw = base64.b64decode(data, validate=True)
    except ValueError:
        return False
    text = bytes(byte ^ 0x5A for byte in raw[32:])
    return hmac.compare_digest(hmac.digest(_SECRET, text, hashlib.sha256), raw[:32])
