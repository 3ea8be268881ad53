"""GatewayView: a DRF view whose one async method both doors call, the lean one and Django's own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.views import APIView

from apiv1.auth import Authenticator
from apiv1.errors import error_reply
from apiv1.inbound import Inbound, check_query, read_headers
from apiv1.stream import pieces
from dialects.errors import BAD_METHOD, INTERNAL, Detail, Family, GatewayError
from pipeline.call import Handler, Reply
from routing.snapshot import ApiKey, Snapshot


class Holder(Protocol):
    """Where the current snapshot is."""

    @property
    def current(self) -> Snapshot: ...


class DoorBook(Protocol):
    """Counts what was refused before it became a call."""

    def refused(self, surface: str, status: int, code: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Services:
    """What the views need, handed in by the composition root. `fault` is told of an exception that nobody
    expected, with the request's id."""

    snapshots: Holder
    authenticator: Authenticator
    handler: Handler
    book: DoorBook
    fault: Callable[[str, BaseException], None]


@dataclass(frozen=True, slots=True)
class Visit:
    """One authenticated request at an endpoint. `path` holds what the URL pattern captured."""

    inbound: Inbound
    caller: ApiKey
    request_id: str
    services: Services
    captured: str = ""


class GatewayView(APIView):
    """Base of every endpoint under /v1. A subclass defines `async get` or `async post` taking a Visit.

    DRF's own dispatch (negotiation, throttles, a Request wrapper, sync authentication) is not run: the
    key check happens in `respond`, which both doors call, so that neither can miss it.
    """

    # Read by DRF alone; the key check of `respond` stands before every handler.
    authentication_classes: ClassVar[list[Any]] = []
    permission_classes: ClassVar[list[Any]] = []
    surface: ClassVar[str] = ""
    family: ClassVar[Family] = "openai"

    def family_for(self, inbound: Inbound) -> Family:
        """Whose error envelope this client expects."""
        return self.family

    def methods(self) -> list[str]:
        return [name.upper() for name in ("get", "post") if hasattr(self, name)]

    async def respond(self, inbound: Inbound, services: Services, captured: str = "") -> Reply:
        """A reply for whatever came in: raises nothing but CancelledError."""
        request_id = "req_" + secrets.token_hex(12)
        try:
            check_query(inbound.query)
            handler = getattr(self, inbound.method.lower(), None)
            if handler is None or inbound.method not in ("GET", "POST"):
                allow = ", ".join(self.methods())
                raise GatewayError(
                    BAD_METHOD,
                    f"This address takes {allow}, not {inbound.method}.",
                    Detail(headers=(("allow", allow),)),
                )
            caller = services.authenticator.caller(inbound, services.snapshots.current)
            reply: Reply = await handler(Visit(inbound, caller, request_id, services, captured))
            return reply
        except GatewayError as error:
            return self._refused(inbound, services, error, request_id)
        except Exception as error:  # noqa: BLE001 - the door: nothing may get past it unanswered
            services.fault(request_id, error)
            internal = GatewayError(
                INTERNAL, "The gateway failed on this request; its operators can look up the id."
            )
            return self._refused(inbound, services, internal, request_id)

    def _refused(self, inbound: Inbound, services: Services, error: GatewayError, request_id: str) -> Reply:
        family = self.family_for(inbound)
        services.book.refused(self.surface, error.status(family), error.code)
        return error_reply(family, error, request_id)

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]  # DRF's is sync; Django awaits a view that is marked async
        """Django's way in, where the plain Django application is mounted without the lean door."""
        scope: dict[str, Any] = request.scope  # type: ignore[attr-defined]  # an ASGI request has one
        headers, duplicates = read_headers(scope["headers"])
        inbound = Inbound(
            method=request.method or "GET",
            path=request.path_info,
            query=scope.get("query_string", b""),
            headers=headers,
            body=request.body,
            duplicates=duplicates,
        )
        reply = await self.respond(inbound, scope["state"]["services"], kwargs.get("captured", ""))
        fields = dict(reply.headers)
        if isinstance(reply.body, bytes):
            if reply.call is not None:
                reply.call.close()
            return HttpResponse(reply.body, status=reply.status, headers=fields)
        return StreamingHttpResponse(_generator(reply), status=reply.status, headers=fields)


async def _generator(reply: Reply) -> AsyncIterator[bytes]:
    async for piece in pieces(reply):
        yield piece
