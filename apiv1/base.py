"""GatewayView: a DRF view whose one async method both doors call, the lean one and Django's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from django.core.exceptions import RequestDataTooBig
from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    StreamingHttpResponse,
    UnreadablePostError,
)
from msgspec import Struct
from rest_framework.views import APIView

from apiv1.auth import Authenticator
from apiv1.errors import GIVEN_UP, error_reply, overloaded, shed
from apiv1.inbound import Inbound, check_host, check_query, read_headers
from apiv1.lingering import Lingering
from apiv1.origins import Origins
from apiv1.stream import Pieces, closing
from dialects.errors import BAD_METHOD, INTERNAL, NOT_FOUND, SIZE, Detail, Family, GatewayError
from pipeline.call import Call, Handler, Refusal, Reply
from pipeline.tracing import Trace, Tracing
from routing.snapshot import ApiKey, Priority, Snapshot

_VERBS = ("get", "post", "delete")
_INTERNAL = "The gateway failed on this request; its operators can look up the id."


class Holder(Protocol):
    """Where the current snapshot is."""

    @property
    def current(self) -> Snapshot: ...


class DoorBook(Protocol):
    """Keeps count of what was refused before it became a call. It must not raise and must not wait."""

    def refused(self, refusal: Refusal) -> None: ...


class Status(Protocol):
    """How the gateway is."""

    def ready(self) -> bool:
        """True when it can take traffic."""
        ...

    def waits_for(self) -> str:
        """Why it cannot, in a few words."""
        ...

    def alive(self) -> bool:
        """False when the process must be ended and started anew."""
        ...

    def degraded(self) -> bool:
        """True when it can, and something needs a person all the same."""
        ...

    async def report(self) -> dict[str, Any]:
        """Details for those who have a key: no secrets, addresses or other teams' names."""
        ...


class Admission(Protocol):
    """Whether this process can take more."""

    def refuses(self, priority: Priority) -> bool:
        """True when a new call of this priority must not be let in."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What the views need, handed in by the composition root. `fault` is told of an exception that nobody
    expected, with the request's id. `origins`: whose pages may call; None: those of no other origin.
    `tracing`: begins spans; None: traces are not exported."""

    snapshots: Holder
    authenticator: Authenticator
    handler: Handler
    book: DoorBook
    status: Status
    pressure: Admission
    fault: Callable[[str, BaseException], None]
    lingering: Lingering
    origins: Origins | None = None
    tracing: Tracing | None = None


class Visit(Struct):
    """One request at an endpoint. `captured` is what the URL pattern caught; `snapshot` stays the same to the
    end; `call` is set once the request has become one. `trace`: the request's span, if there is one."""

    inbound: Inbound
    services: Services
    captured: str
    snapshot: Snapshot
    caller: ApiKey | None = None
    call: Call | None = None
    trace: Trace | None = None

    @property
    def key(self) -> ApiKey:
        """The caller's key. Only public views have none, and they do not ask."""
        if self.caller is None:
            raise RuntimeError("a view without authentication asked for the key")
        return self.caller


def check_room(visit: Visit, priority: Priority) -> None:
    """Refuse a new call that the process has no room for, or that operators have refused for a while."""
    if visit.services.pressure.refuses(priority):
        raise overloaded()
    if visit.snapshot.sheds(priority):
        raise shed()


class GatewayView(APIView):
    """Base of every endpoint. A subclass defines `async get` or `async post` taking a Visit.

    DRF's own dispatch (negotiation, throttles, a Request wrapper, sync authentication) is not run: the
    key check happens in `respond`, which both doors call, so that neither can miss it.
    """

    # Read by DRF alone; the key check of `respond` stands before every handler.
    authentication_classes: Sequence[Any] = ()
    permission_classes: Sequence[Any] = ()
    surface: ClassVar[str] = ""
    family: ClassVar[Family] = "openai"
    # True for the few addresses that answer without a key.
    public: ClassVar[bool] = False

    def family_for(self, _inbound: Inbound) -> Family:
        """Whose error envelope this client expects."""
        return self.family

    async def respond(self, inbound: Inbound, services: Services, captured: str = "") -> Reply:
        """A reply for whatever came in: raises nothing but CancelledError."""
        visit = Visit(inbound, services, captured, services.snapshots.current)
        tracing = None if self.public else services.tracing
        if tracing is not None:
            visit.trace = tracing.begin(inbound.headers, inbound.method, _address(inbound.path, captured))
        try:
            check_host(inbound)
            check_query(inbound.query)
            visit.caller = self._identify(visit)
            if visit.caller is not None:
                inbound.presence.key_id = visit.caller.id
            # Before the body is read: a refusal must cost little just then.
            if visit.caller and inbound.method == "POST":
                check_room(visit, visit.caller.priority)
            reply = await self._handler(inbound.method)(visit)
            if tracing is not None and visit.trace is not None and visit.call is None:
                tracing.answered(visit.trace, self.surface, reply.status)
            return reply
        except GatewayError as error:
            return self._failed(visit, error)
        except asyncio.CancelledError:
            self._lost(visit)
            raise
        except Exception as error:  # noqa: BLE001 - the door: nothing may get past it unanswered
            services.fault(inbound.request_id, error)
            return self._failed(visit, GatewayError(INTERNAL, _INTERNAL))

    def _identify(self, visit: Visit) -> ApiKey | None:
        """The caller; on a public address None for whoever shows no valid key."""
        try:
            return visit.services.authenticator.caller(visit.inbound, visit.snapshot)
        except GatewayError:
            if self.public:
                return None
            raise

    def offered(self) -> list[str]:
        """The methods that this address takes."""
        offered = [verb.upper() for verb in _VERBS if hasattr(self, verb)]
        return ["HEAD", *offered] if "GET" in offered else offered

    def _handler(self, method: str) -> Callable[[Visit], Awaitable[Reply]]:
        # HEAD is GET whose body the server leaves out.
        name = "get" if method == "HEAD" else method.lower()
        handler = getattr(self, name, None) if name in _VERBS else None
        if handler is None:
            offered = self.offered()
            allow = ", ".join(offered)
            if not offered:
                raise GatewayError(NOT_FOUND, "There is nothing at this address.")
            raise GatewayError(
                BAD_METHOD,
                f"This address takes {allow}.",
                Detail(headers=(("allow", allow),)),
            )
        found: Callable[[Visit], Awaitable[Reply]] = handler
        return found

    def _failed(self, visit: Visit, error: GatewayError) -> Reply:
        inbound, call = visit.inbound, visit.call
        family = self.family_for(inbound)
        status = error.status(family)
        if call is None:
            key, team = (visit.caller.prefix, visit.caller.team.name) if visit.caller else ("", "")
            visit.services.book.refused(
                Refusal(inbound.request_id, self.surface, status, error.code, key, team, visit.trace)
            )
        else:
            call.record.outcome, call.record.code, call.record.status = "error", error.code, status
            call.close()
        reply = error_reply(family, error, inbound.request_id)
        if call is not None:
            reply.headers += call.reply_headers
        return reply

    def _lost(self, visit: Visit) -> None:
        """The client has left, or the gateway goes down, before there was a reply."""
        call = visit.call
        if call is None:
            return
        record = call.record
        ours = GIVEN_UP.get(visit.inbound.presence.lost)
        if ours is not None:
            error = ours()
            record.outcome, record.code, record.status = "error", error.code, error.status(self.family)
        else:
            record.outcome, record.code, record.status = "client_gone", "client_gone", 499
        call.close()

    async def dispatch(self, request: HttpRequest, captured: str = "") -> HttpResponseBase:  # type: ignore[override]  # DRF's is sync; Django awaits a view that is marked async
        """Django's way in, where the plain Django application is mounted without the lean door."""
        scope: dict[str, Any] = request.scope  # type: ignore[attr-defined]  # an ASGI request has one
        headers, duplicates = read_headers(scope["headers"])

        async def body() -> bytes:
            try:
                return request.body
            except RequestDataTooBig:
                raise GatewayError(SIZE, "The request body is larger than this address takes.") from None
            except UnreadablePostError:
                raise asyncio.CancelledError from None

        async def pieces() -> AsyncIterator[bytes]:
            yield await body()

        inbound = Inbound(
            method=request.method or "GET",
            path=request.path_info,
            query=scope.get("query_string", b""),
            headers=headers,
            body=body,
            pieces=pieces,
            duplicates=duplicates,
            version=scope.get("http_version", "1.1"),
        )
        services: Services = scope["state"]["services"]
        reply = await self.respond(inbound, services, captured)
        fields = dict(reply.headers)
        if isinstance(reply.body, bytes):
            if reply.call is not None:
                reply.call.close()
            return HttpResponse(reply.body, status=reply.status, headers=fields)
        stream: AsyncIterator[bytes] = closing(Pieces(reply, services.fault, None, services.lingering))
        return StreamingHttpResponse(stream, status=reply.status, headers=fields)


def _address(path: str, captured: str) -> str:
    """A path without what it says of one object, so that there are few of them."""
    return path.removesuffix(captured) + "{id}" if captured else path
