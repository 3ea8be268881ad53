"""A refusal as the providers' rules raise it; each provider puts it into its own envelope."""

from __future__ import annotations

import base64
import binascii
from typing import Any, TypeGuard


class RefusedError(Exception):
    """The provider would refuse this request. `kind` is the envelope's error type, "" for its usual one."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "",
        param: str | None = None,
        code: str | None = None,
    ):
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


def image_type(data: bytes) -> str | None:
    """The media type that the first bytes of an image say; None: no image that a provider knows."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


def unbase64(text: Any) -> bytes | None:
    """Strictly decoded standard base64; None: it is none."""
    if not isinstance(text, str):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def tag(value: Any) -> str | None:
    """The value where it is a string: what a `type` or `role` may be."""
    return value if isinstance(value, str) else None


def is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
