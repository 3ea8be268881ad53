"""WebSockets: those of the admin's own pages, for whoever has logged in there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.urls import path

from console.live_socket import LiveSocket
from dialects.errors import GatewayError, bad_request
from gateway_project.daphne.head import family_of
from gateway_project.refusals import refusal

Scope = MutableMapping[str, Any]
App = Callable[..., Awaitable[None]]

_LIVE = "admin/live/socket"
_ADDRESSES = frozenset({f"/{_LIVE}"})


def sockets(origins: Collection[str]) -> App:
    """The application for them. `origins`: whose pages may connect beside those of the very host."""
    pages: App = AuthMiddlewareStack(URLRouter([path(_LIVE, LiveSocket.as_asgi())]))
    return _OwnPages(pages, frozenset(origins))


async def deny(scope: Scope, send: Any, error: GatewayError) -> None:
    """Refuse a handshake: as a reply of the API where the server can give one, else with a 403."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    answer = refusal(family_of(b"GET " + scope["path"].encode()), error)
    start = {"type": "websocket.http.response.start", "status": answer.status, "headers": answer.headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": answer.body})


class _OwnPages:
    """Lets nobody else's page use an operator's session: a browser sends its cookies whatever page asks."""

    def __init__(self, pages: App, origins: frozenset[str]) -> None:
        self._pages = pages
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["path"] in _ADDRESSES and self._is_own(dict(scope["headers"])):
            await self._pages(scope, receive, send)
            return
        await receive()
        await deny(scope, send, bad_request("There are no WebSockets here.", code="websocket_not_supported"))

    def _is_own(self, headers: dict[bytes, bytes]) -> bool:
        origin = headers.get(b"origin", b"").decode("latin-1")
        host = headers.get(b"host", b"").decode("latin-1").lower()
        try:
            return bool(host) and (origin in self._origins or urlsplit(origin).netloc.lower() == host)
        except ValueError:
            return False
