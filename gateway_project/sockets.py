"""WebSockets: the API's, for who has a key, and those of the admin's pages, for who has logged in there."""

from __future__ import annotations

from collections.abc import Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.urls import path, re_path

from apiv1.realtime import ADDRESS, refuse
from console.live_socket import LiveSocket
from dialects.errors import bad_request
from gateway_project.daphne.head import family_of
from gateway_project.refusals import refusal

Scope = MutableMapping[str, Any]
# As ASGI says; Django's own types know only views.
App = Any


def sockets(realtime: App, origins: Collection[str]) -> App:
    """The application for all of them. `realtime`: the API's own; `origins`: whose pages may use an
    operator's session beside those of the very host."""
    live: App = _OwnPages(AuthMiddlewareStack(LiveSocket.as_asgi()), frozenset(origins))
    routed: App = URLRouter(
        [path("admin/live/socket", live), path(ADDRESS[1:], realtime), re_path("", _nothing_here)]
    )
    return routed


async def _nothing(scope: Scope, receive: Any, send: Any) -> None:
    """A reply of the API where the server can answer a handshake with one, else a 403."""
    await receive()
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    error = bad_request("There are no WebSockets at this address.", code="websocket_not_supported")
    answer = refusal(family_of(b"GET " + scope["path"].encode()), error)
    await refuse(scope, send, answer.status, answer.headers, answer.body)


# For Django, whose types know only views.
_nothing_here: App = _nothing


class _OwnPages:
    """Lets nobody else's page use an operator's session: a browser sends its cookies whatever page asks."""

    def __init__(self, pages: App, origins: frozenset[str]) -> None:
        self._pages = pages
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        own = self._is_own(dict(scope["headers"]))
        await (self._pages if own else _nothing_here)(scope, receive, send)

    def _is_own(self, headers: dict[bytes, bytes]) -> bool:
        origin = headers.get(b"origin", b"").decode("latin-1")
        host = headers.get(b"host", b"").decode("latin-1").lower()
        try:
            return bool(host) and (origin in self._origins or urlsplit(origin).netloc.lower() == host)
        except ValueError:
            return False
