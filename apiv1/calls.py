"""CallView: the endpoints whose POST is a call through the pipeline."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar

from msgspec import Struct

from apiv1.base import GatewayView, Visit
from apiv1.errors import SAFE_HEADERS, STREAM_HEADERS, request_id_headers
from apiv1.inbound import Inbound, check_media, time_limit
from dialects.errors import GatewayError, bad_request
from dialects.parse import parse_json, without_bom
from dialects.types import Dialect, Facts, JsonObject
from pipeline.cache_rules import CONTROL_HEADERS
from pipeline.call import USUAL_PARCEL, Call, Deadline, Parcel, Record, Reply
from pipeline.failover import SESSION_HEADER
from providers.kinds import KINDS

# The only headers of a client that the pipeline may see: what some provider kind is allowed to forward, and
# its session and its wishes of the cache, which are not.
_OURS = CONTROL_HEADERS | {SESSION_HEADER}
_SEEN = tuple(sorted(_OURS.union(*(kind.forward for kind in KINDS.values()))))
# Field names come from the client: what a header cannot hold is replaced, and the list is cut.
_NOT_IN_HEADER = re.compile(r"[^\x21-\x2b\x2d-\x7e]")
_MAX_DROPPED = 1000
# Read beside the event loop from here on, where the hop costs less than a hundredth of the reading.
_LARGE = 1024 * 1024
# Far over any real name; it goes into error messages and log lines.
_MAX_MODEL = 256


class Given(Struct, frozen=True):
    """A request's body: as it arrived, as an object, when it was there, and how it is to travel."""

    raw: bytes
    body: JsonObject
    started: float
    parcel: Parcel = USUAL_PARCEL


class CallView(GatewayView):
    """One endpoint of one dialect. The body is checked, opened as a Call, and handed to the pipeline."""

    dialect: ClassVar[Dialect]

    async def post(self, visit: Visit) -> Reply:
        """The pipeline's reply with the headers that every reply has."""
        limit = time_limit(visit.inbound)
        given = await self.take(visit.inbound)
        facts = self.dialect.facts(given.body)
        if len(facts.model) > _MAX_MODEL:
            raise bad_request(f"The name of the model is longer than {_MAX_MODEL} characters.", "model")
        return await self.carry(visit, self.open(visit, given, facts), limit)

    async def take(self, inbound: Inbound) -> Given:
        """What the client sent, checked and read."""
        check_media(inbound)
        raw = without_bom(await inbound.body())
        # Only now: the time that the client took to send is not the gateway's.
        started = time.monotonic()
        # A large one takes longer to read than the others should wait.
        body = parse_json(raw) if len(raw) < _LARGE else await asyncio.to_thread(parse_json, raw)
        return Given(raw, body, started)

    def open(self, visit: Visit, given: Given, facts: Facts) -> Call:
        """The call, with a record of its own."""
        inbound, key, snapshot = visit.inbound, visit.key, visit.snapshot
        record = Record(
            request_id=inbound.request_id,
            surface=self.surface,
            started=given.started,
            model=facts.model,
            stream=facts.stream,
            key_prefix=key.prefix,
            team=key.team.name,
            revision=snapshot.revision,
            trace=visit.trace,
        )
        return Call(
            dialect=self.dialect,
            raw=given.raw,
            body=given.body,
            facts=facts,
            caller=key,
            snapshot=snapshot,
            record=record,
            headers={name: inbound.headers[name] for name in _SEEN if name in inbound.headers},
            parcel=given.parcel,
        )

    async def carry(self, visit: Visit, call: Call, limit: float | None) -> Reply:
        """What becomes of the call. `limit`: the client's own, in seconds."""
        if limit is not None:
            call.deadline = Deadline.after(limit)
        visit.call = call
        reply = await visit.services.handler(call)
        call.record.first_byte = time.monotonic()
        call.record.status = reply.status
        reply.call = call
        safe = STREAM_HEADERS if call.facts.stream else SAFE_HEADERS
        reply.headers += [*safe, *request_id_headers(call.id), *_told(call)]
        reply.headers += call.reply_headers
        return reply

    def _failed(self, visit: Visit, error: GatewayError) -> Reply:
        reply = super()._failed(visit, error)
        if visit.call is not None:
            reply.headers += _told(visit.call)
        return reply


def _told(call: Call) -> Iterable[tuple[str, str]]:
    """Who was asked last, and what could not travel there."""
    record = call.record
    if record.provider:
        yield "x-gateway-provider", _clean_name(record.provider)
    if record.cache:
        yield "x-gateway-cache", record.cache
    if record.attempts and record.attempts[-1].upstream_request_id:
        yield "x-upstream-request-id", _clean(record.attempts[-1].upstream_request_id)
    # A strict route drops nothing: it refuses, and its refusal names the fields.
    if record.dropped and record.losses == "warn":
        yield "x-gateway-dropped", ", ".join(map(_clean, record.dropped))[:_MAX_DROPPED]


@lru_cache(maxsize=1024)
def _clean_name(text: str) -> str:
    # Providers are few.
    return _clean(text)


def _clean(text: str) -> str:
    return _NOT_IN_HEADER.sub("?", text)
