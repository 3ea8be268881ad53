"""What the support's tests share: small media, and one plain HTTP call without any SDK."""

from __future__ import annotations

import base64
import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + b"picture").decode()
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"picture").decode()
PDF = base64.b64encode(b"%PDF-1.4 text").decode()
KEYS = {"authorization": "Bearer sk-test", "content-type": "application/json"}


def call(url: str, body: Any, *, headers: dict[str, str] | None = None, raw: bool = False) -> tuple[int, Any]:
    """POST and read it all: the status and the JSON (or the bytes). `headers` replaces all but the content
    type."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json", **(KEYS if headers is None else headers)}
    try:
        connection.request("POST", parts.path + (f"?{parts.query}" if parts.query else ""), data, sent)
        reply = connection.getresponse()
        answer = reply.read()
        return reply.status, answer if raw else json.loads(answer)
    finally:
        connection.close()
