"""The WebSocket of `/v1/realtime`: a conversation between a client and a provider, in OpenAI's events."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Container, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from apiv1.base import Services, Visit, check_room
from apiv1.calls import CallView, Given
from apiv1.errors import GIVEN_UP
from apiv1.inbound import Inbound, Presence, read_headers, time_limit
from dialects.errors import INTERNAL, PERMISSION, UPSTREAM_TIMEOUT, Detail, GatewayError, bad_request
from dialects.media import REALTIME
from pipeline.call import Call, Conversation, Parcel, Reply
from providers.wire import Closed

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

ADDRESS = "/v1/realtime"
# Where a browser puts a key, because it cannot set a header: among the protocols that it offers.
_KEY_PROTOCOL = "openai-insecure-api-key."
_PROTOCOL = "realtime"
# OpenAI's own sessions end after an hour.
SESSION_SECONDS = 3600.0
# Nobody has said a word for so long: a microphone that is on sends some twenty a second.
SILENCE_SECONDS = 900.0
_LOOK_SECONDS = 5.0
# So long a client may take for the goodbye; one that reads nothing must not keep its conversation open.
_GOODBYE_SECONDS = 2.0
# Of more than any real query is made up.
_MAX_QUERY = 4096
# By these a provider finds another model than the one that was judged, or somebody else's call.
_ELSEWHERE = frozenset({"deployment", "call_id"})
# How the gateway closes what it ends.
_REFUSED, _INTERNAL, _RESTART = 1008, 1011, 1012
# A server that cannot answer a handshake with a status closes with it, in the range of applications.
_STATUS = 4000


class Realtime(CallView):
    """The handshake, as a call whose reply is a conversation."""

    surface = "realtime"
    dialect = REALTIME

    async def get(self, visit: Visit) -> Reply:
        """101 with a conversation."""
        inbound = visit.inbound
        check_room(visit, visit.key.priority)
        _check_origin(visit)
        query = inbound.query.decode("latin-1")
        if len(query) > _MAX_QUERY:
            raise bad_request("The query is too long.", "model")
        asked = dict(parse_qsl(query, keep_blank_values=True))
        for name in _ELSEWHERE & asked.keys():
            raise bad_request("It would lead elsewhere than to the model that is asked for.", name)
        body = {"model": asked.get("model", "")}
        parcel = Parcel(content_type="", method="GET", tail=f"?{query}")
        given = Given(orjson.dumps(body), body, time.monotonic(), parcel)
        return await self.carry(visit, self.open(visit, given, self.dialect.facts(body)), time_limit(inbound))


def _check_origin(visit: Visit) -> None:
    """A page of another origin may call where pages of that origin may call at all. It has a key of its own,
    and no cookie says anything here."""
    headers, origins = visit.inbound.headers, visit.services.origins
    origin = headers.get("origin")
    if origin is None or origin.partition("://")[2] == headers.get("host"):
        return
    if origins is None or not origins.allows(origin):
        raise GatewayError(
            PERMISSION, "Pages of this origin may not call.", Detail(code="origin_not_allowed")
        )


class RealtimeDoor:
    """An ASGI application for WebSockets at this address."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._view = Realtime()
        self._open: set[_Session] = set()
        self._shut = False

    @property
    def in_flight(self) -> int:
        """Conversations that have not ended."""
        return len(self._open)

    def cut(self) -> None:
        """End all of them, and those that come late at once: the gateway goes down."""
        self._shut = True
        for session in list(self._open):
            session.give_up("draining")

    def cut_revoked(self, known: Container[int]) -> None:
        """End those of keys that are none of these any more."""
        for session in list(self._open):
            if session.presence.key_id and session.presence.key_id not in known:
                session.give_up("revoked")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one handshake, and carry what is said after it."""
        await receive()
        headers, duplicates = read_headers(scope["headers"])
        protocols = list(scope.get("subprotocols") or ())
        _take_key(headers, protocols)
        session = _Session(receive, send)
        inbound = Inbound(
            method="GET",
            path=scope["path"],
            query=scope["query_string"],
            headers=headers,
            body=_no_body,
            pieces=_no_pieces,
            duplicates=duplicates,
            presence=session.presence,
        )
        self._open.add(session)
        if self._shut:
            session.give_up("draining")
        try:
            reply = await self._view.respond(inbound, self._services)
            call = reply.call
            if call is None or call.conversation is None:
                head = [(name.encode("ascii"), value.encode("latin-1")) for name, value in reply.headers]
                body = reply.body if isinstance(reply.body, bytes) else b"{}"
                await refuse(scope, send, reply.status, head, body)
                return
            await session.carry(call, call.conversation, _accepted(reply, protocols))
        except Exception as error:  # noqa: BLE001 - the door: nothing may get past it unanswered
            self._services.fault(inbound.request_id, error)
            await session.end(GatewayError(INTERNAL, "The gateway failed in this conversation."))
        finally:
            self._open.discard(session)


# How a conversation ended: by the provider, by the gateway, or by the client, who is told nothing more.
_End = Closed | GatewayError | None


class _Session:
    """What is said both ways, until one of the two, the gateway or the clock ends it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.presence = Presence()
        self._receive = receive
        self._send = send
        self._over = asyncio.Event()
        self._heard = time.monotonic()

    def give_up(self, why: Any) -> None:
        """End it wherever it is."""
        self.presence.lost = self.presence.lost or why
        self._over.set()

    async def carry(self, call: Call, talk: Conversation, accepted: Message) -> None:
        """From the handshake's answer to the goodbye."""
        ways: list[asyncio.Task[_End]] = []
        try:
            await _say(self._send, accepted)
            ways = [asyncio.create_task(way) for way in (self._down(talk), self._up(talk), self._watch())]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            how = next(way for way in ways if way.done()).result()
            # Who is sent away has no say while the goodbyes are said.
            await _stop(ways)
            await self._goodbye(call, talk, how)
        finally:
            await _stop(ways)
            call.close()

    async def end(self, error: GatewayError) -> None:
        """Tell the client why, in an event of the dialect, and close."""
        code = _RESTART if error.code == "draining" else _INTERNAL if error.fault is INTERNAL else _REFUSED
        await _tell(self._send, error, code)

    async def _down(self, talk: Conversation) -> _End:
        """What the provider says."""
        while True:
            message = await talk.receive()
            if isinstance(message, Closed):
                return message
            self._heard = time.monotonic()
            name = "text" if isinstance(message, str) else "bytes"
            try:
                await self._send({"type": "websocket.send", name: message})
            except OSError:
                # As servers say that the client has gone.
                return None
            if talk.told is not None:
                return talk.told

    async def _up(self, talk: Conversation) -> _End:
        """What the client says."""
        while (message := await self._receive())["type"] == "websocket.receive":
            self._heard = time.monotonic()
            said = message.get("text")
            if not await talk.send(message["bytes"] if said is None else said):
                # How it ended is heard on the other way.
                await asyncio.Event().wait()
        return None

    async def _watch(self) -> _End:
        """Why it is ended from here."""
        end = time.monotonic() + SESSION_SECONDS
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._over.wait()
            now = time.monotonic()
            if now > end:
                return _over("A conversation lasts an hour at the most.")
            if now - self._heard > SILENCE_SECONDS:
                return _over("Nobody has said anything for a quarter of an hour.")
        return GIVEN_UP[self.presence.lost]()

    async def _goodbye(self, call: Call, talk: Conversation, how: _End) -> None:
        if isinstance(how, GatewayError):
            call.record.outcome, call.record.code = "error", how.code
            await self.end(how)
            await talk.close(1001)
        elif isinstance(how, Closed):
            code = how.code if _is_sendable(how.code) else 1000 if how.code == 1005 else _INTERNAL
            await _say(self._send, {"type": "websocket.close", "code": code, "reason": how.reason})
        else:
            await talk.close()


async def refuse(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Answer a handshake with a status, where the server can. Where it cannot, the WebSocket is opened, told
    the same in an event, and closed with 4000 and the status."""
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
        return
    said = orjson.loads(body).get("error")
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": _event(said)})
    await send({"type": "websocket.close", "code": _STATUS + status, "reason": str(said.get("code"))[:100]})


async def _tell(send: Send, error: GatewayError, code: int) -> None:
    said = {
        "type": error.fault.openai_type,
        "code": error.code,
        "message": error.message,
        "param": error.detail.param,
    }
    closed = {"type": "websocket.close", "code": code, "reason": error.code[:100]}
    await _say(send, {"type": "websocket.send", "text": _event(said)}, closed)


async def _say(send: Send, *messages: Message) -> None:
    """To a client that may have gone, or reads nothing. A timeout is an OSError."""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(_GOODBYE_SECONDS):
            for message in messages:
                await send(message)


async def _stop(ways: list[asyncio.Task[_End]]) -> None:
    for way in ways:
        way.cancel()
    await asyncio.gather(*ways, return_exceptions=True)


def _event(said: Any) -> str:
    """An error as an event of the dialect."""
    event_id = f"event_{secrets.token_hex(10)}"
    return orjson.dumps({"type": "error", "event_id": event_id, "error": {**said, "event_id": None}}).decode()


def _over(words: str) -> GatewayError:
    return GatewayError(UPSTREAM_TIMEOUT, words, Detail(code="session_expired"))


def _accepted(reply: Reply, protocols: list[str]) -> Message:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in reply.headers]
    chosen = _PROTOCOL if _PROTOCOL in protocols else None
    return {"type": "websocket.accept", "subprotocol": chosen, "headers": headers}


def _take_key(headers: dict[str, str], protocols: list[str]) -> None:
    """A key among the protocols goes where all others are. A header says more."""
    for protocol in protocols:
        if protocol.startswith(_KEY_PROTOCOL) and "authorization" not in headers:
            headers["authorization"] = "Bearer " + protocol.removeprefix(_KEY_PROTOCOL)


def _is_sendable(code: int) -> bool:
    """Whether it may stand in a frame: 1005, 1006 and 1015 are only names for what was not said."""
    return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999


async def _no_body() -> bytes:
    return b""


async def _no_pieces() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece
