"""Answers a call with what was answered before, where its route allows it, without asking a provider."""

from __future__ import annotations

import asyncio
import math
import time
from functools import partial
from typing import NamedTuple

from dialects.embeddings import EMBEDDINGS
from pipeline.answer import JSON_HEADERS, SSE_HEADERS
from pipeline.cache_entry import Draft, of_stream, of_whole
from pipeline.cache_flight import Flight
from pipeline.cache_key import exact, partition
from pipeline.cache_rules import use_of
from pipeline.cache_shelf import Shelf, Slot, is_fallback
from pipeline.cache_stores import Place
from pipeline.cache_vectors import Vectors
from pipeline.call import Call, Handler, Reply
from pipeline.errand import timeouts
from pipeline.matching import matched
from routing.caching import Caching
from routing.snapshot import Route

# By it the answer can be purged alone. It holds nothing of the request: a digest, of the team too.
KEY_HEADER = "x-gateway-cache-key"


class _Name(NamedTuple):
    """What calls have in common that share an answer while it is under way, to the last byte."""

    key: bytes
    stream: bool
    include_usage: bool


class Cache:
    """Handler in front of a route's providers. It stands behind limits and budgets, which see a hit as a call
    that used nothing, and a route without a cache pays one look at its settings."""

    def __init__(self, inner: Handler, shelf: Shelf) -> None:
        self._inner = inner
        self._shelf = shelf
        self._vectors = Vectors(inner, shelf)
        self._flights: dict[_Name, Flight] = {}

    async def __call__(self, call: Call) -> Reply:
        route = matched(call)
        if route.caching is None:
            return await self._inner(call)
        return await self._cached(call, route, route.caching)

    async def _cached(self, call: Call, route: Route, caching: Caching) -> Reply:
        use = use_of(call, caching)
        call.record.cache = "miss" if use.look else "bypass"
        if use.none:
            self._shelf.metrics.asked(route.pattern, "bypass")
            return await self._inner(call)
        within = partition(call, route, caching)
        place = Place(within.team, within.route, within.epoch)
        slot = Slot(place, exact(call, within), route, caching, use)
        call.reply_headers.append((KEY_HEADER, slot.key.hex()))
        if call.dialect.name == EMBEDDINGS.name:
            handler = self._vectors.handler(slot, within)
        else:
            reply = await self._found(call, slot) if use.look else None
            if reply is not None:
                return reply
            handler = self._inner
        reply = await self._flown(call, slot, handler)
        if call.record.cache != "hit":
            self._shelf.metrics.asked(route.pattern, call.record.cache)
        return reply

    async def _found(self, call: Call, slot: Slot) -> Reply | None:
        """The kept answer as a reply to this call; None where there is none for it."""
        (entry,) = await self._shelf.look(slot, [slot.key])
        body = None if entry is None else entry.said(call)
        if entry is None or body is None:
            return None
        record = call.record
        record.dropped = list(entry.head.dropped)
        if call.facts.stream:
            record.first_content = time.monotonic()
        self._shelf.hit(call, slot.route, self._shelf.age(entry), entry.head.cost)
        return Reply(200, list(SSE_HEADERS if call.facts.stream else JSON_HEADERS), body)

    async def _flown(self, call: Call, slot: Slot, handler: Handler) -> Reply:
        """The answer of `handler`, or that of the same call of another that is under way."""
        name = _Name(slot.key, call.facts.stream, call.facts.include_usage)
        flight = self._flights.get(name) if slot.use.share else None
        if flight is not None and flight.open:
            reply = await flight.follow(call, _patience(call, slot.route))
            if reply is not None:
                self._shelf.hit(call, slot.route, 0.0, None)
                self._shelf.metrics.shared(slot.route.pattern)
                call.on_close(partial(self._saved, call, slot, flight))
                if call.facts.stream:
                    call.record.first_content = time.monotonic()
                return reply
        flight = Flight(call)
        if slot.use.share:
            # Whoever has followed in vain leads those who come after it.
            self._flights[name] = flight
        call.on_close(partial(self._closed, call, slot, flight, name))
        return await flight.lead(handler)

    def _closed(self, call: Call, slot: Slot, flight: Flight, name: _Name) -> None:
        """The leading call is over, its usage known: keep its answer, and let nobody follow any more."""
        gone = partial(self._gone, name, flight)
        landed = flight.landing.result() if flight.landing.done() else None
        if (
            not isinstance(landed, Reply)
            or not slot.use.keep
            or call.dialect.name == EMBEDDINGS.name
            or call.record.outcome == "error"
            or call.record.cache == "hit"
            or is_fallback(call, slot.route)
            or not flight.complete
        ):
            gone()
            return
        # Until it is kept, who comes now may still follow.
        job = self._shelf.beside(self._keep(call, slot, flight, landed))
        job.add_done_callback(gone)

    def _saved(self, call: Call, slot: Slot, flight: Flight) -> None:
        if call.record.outcome == "ok":
            call.record.saved = flight.worth()
            self._shelf.metrics.saved(slot.route.pattern, call.record.saved)

    def _gone(self, name: _Name, flight: Flight, _job: asyncio.Task[None] | None = None) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]

    async def _keep(self, call: Call, slot: Slot, flight: Flight, landed: Reply) -> None:
        draft: Draft | None
        if flight.shared is not None:
            draft = of_stream(call.dialect, flight.shared.joined(), call.record.usage)
        else:
            assert isinstance(landed.body, bytes)  # noqa: S101 - what is not shared is whole
            draft = of_whole(call.dialect, landed.body)
        if draft is not None and await self._shelf.draft(slot, call, draft) and call.when_kept is not None:
            await call.when_kept()


def _patience(call: Call, route: Route) -> float | None:
    """Seconds for which a call waits for another's answer: its own time, or that of the slowest target."""
    longest = max((timeouts(target, route.patience).total for target in route.targets), default=math.inf)
    seconds = call.deadline.sooner(longest).remaining()
    return None if math.isinf(seconds) else seconds
