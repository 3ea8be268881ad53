"""Pages of other origins: which of them browsers let call the API, and how they are told so.

Nothing here lets anybody in: a page needs a key like every client. Cookies have no say at the API, so
`access-control-allow-credentials` is never sent.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]

# How long a browser remembers what it was told: an origin that is taken off the list still asks for so long.
_REMEMBERED = b"600"
# Names of headers with commas between. SDKs send some twenty of their own, and newer ones more, so whatever
# is asked for is allowed; the length is four times what they need.
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~ ,-]{1,2048}")
_VARY = (b"vary", b"origin")
# Without it a page could read neither ids nor how long to wait. A star is no secret's way out: there is none.
_EXPOSED = (b"access-control-expose-headers", b"*")


class Origins:
    """The origins whose pages may call, each as browsers write it: `https://app.example.com`."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(each.encode("ascii") for each in allowed)

    async def preflight(self, scope: Scope, send: Send, verbs: Sequence[str]) -> bool:
        """Answer a browser's question before a call. `verbs`: what the address takes. False: it is no such
        question, or not from a page that may call."""
        if scope["method"] != "OPTIONS" or not verbs:
            return False
        asked = dict(scope["headers"])
        origin = self._known(scope["headers"])
        if origin is None or b"access-control-request-method" not in asked:
            return False
        head = [
            *_marks(origin),
            (b"access-control-allow-methods", ", ".join(verbs).encode()),
            (b"access-control-max-age", _REMEMBERED),
        ]
        names = asked.get(b"access-control-request-headers", b"")
        if _NAMES.fullmatch(names):
            head.append((b"access-control-allow-headers", names))
        if b"content-length" in asked or b"transfer-encoding" in asked:
            # Nobody reads what such a question carries, and it must not be taken for the next request.
            head.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": 204, "headers": head})
        await send({"type": "http.response.body", "body": b""})
        return True

    def allows(self, origin: str) -> bool:
        """Whether pages of this origin may call."""
        return origin.encode("latin-1") in self._allowed

    def marked(self, headers: Headers, send: Send) -> Send:
        """`send` with what a browser needs to hand the reply to the page."""
        origin = self._known(headers)
        marks = [_VARY] if origin is None else [*_marks(origin), _EXPOSED]

        async def marking(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *marks]
            await send(message)

        return marking

    def _known(self, headers: Headers) -> bytes | None:
        """The origin of an allowed page; None where it is not, or is said twice."""
        said = [value for name, value in headers if name == b"origin"]
        return said[0] if len(said) == 1 and said[0] in self._allowed else None


def _marks(origin: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"access-control-allow-origin", origin), _VARY]
