"""The ASGI application: the lean door for the API, the stock Django stack for everything else, which
is loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import django
from django.conf import settings  # noqa: TID251 - the composition root hands them in

# Before anything that imports a model: this is what makes the apps ready.
django.setup(set_prefix=False)

from gateway_project.pages import Pages  # noqa: E402 - see above
from gateway_project.sockets import sockets  # noqa: E402 - see above
from gateway_project.wiring import Gateway  # noqa: E402 - as above

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Application:
    """ASGI 3. Under a server with `lifespan` it starts and stops the gateway itself; another server calls
    `gateway.start()` and `gateway.stop()`."""

    def __init__(
        self,
        gateway: Gateway,
        pages: Callable[..., Awaitable[None]],
        sockets: Callable[..., Awaitable[None]],
    ) -> None:
        self.gateway = gateway
        self._pages = pages
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            # The path as it came. A root path, which a client may have made up, changes nothing.
            if self.gateway.door.takes(scope["path"]):
                await self.gateway.door(scope, receive, send)
                return
            scope.setdefault("state", {})["services"] = self.gateway.services
            await self._pages(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._sockets(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.gateway.start()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.gateway.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return


_gateway = Gateway(settings.GATEWAY, sink=settings.LOG_SINK)
application = Application(_gateway, Pages(), sockets(_gateway.realtime, settings.CSRF_TRUSTED_ORIGINS))
