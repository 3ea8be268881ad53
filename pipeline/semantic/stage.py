"""Answers a call with what was answered to a question that means the same, where its route allows it.

It keeps no answers: a vector leads to the key under which the exact cache has one. So how long an answer
lives, how many a team may have, which are fit to be kept, who may see them and how they are purged is decided
there, once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from dialects.errors import BUSY, UPSTREAM_BAD, UPSTREAM_TIMEOUT, GatewayError
from pipeline.answer import JSON_HEADERS, SSE_HEADERS
from pipeline.cache_entry import Entry
from pipeline.cache_key import exact, partition
from pipeline.cache_rules import use_of
from pipeline.cache_shelf import Shelf, Slot
from pipeline.cache_stores import Place
from pipeline.call import Call, Handler, Reply
from pipeline.matching import matched
from pipeline.semantic.embedders import Embedders
from pipeline.semantic.hits import Hits
from pipeline.semantic.lazily import Lazily
from pipeline.semantic.metrics import SemanticMetrics
from pipeline.semantic.question import Question, question, threshold
from pipeline.semantic.respite import Respite
from pipeline.semantic.stores import Found, VectorStore
from routing.semantic import LOCAL, Semantic
from routing.semantic_hits import Event, EventKind
from routing.snapshot import Route

T = TypeVar("T")

# The nearest may have lost its answer, and the next not.
_NEIGHBOURS = 3
# Failures of a provider, not of a caller.
_AWAY = (UPSTREAM_BAD, UPSTREAM_TIMEOUT, BUSY)


@dataclass(frozen=True, slots=True)
class Answers:
    """Where answers are kept, where vectors come from and are kept, and who hears of it."""

    shelf: Shelf
    embedders: Embedders
    vectors: Lazily[VectorStore]
    metrics: SemanticMetrics
    hits: Hits


@dataclass(slots=True)
class _Look:
    """One call's search. `doing` names what it waits for; `vector` is kept for when its own answer is."""

    call: Call
    route: Route
    semantic: Semantic
    slot: Slot
    question: Question
    floor: float
    doing: str = "embedder"
    vector: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Hit:
    found: Found
    entry: Entry
    body: bytes


@dataclass(slots=True)
class _Rests:
    """What is left alone for a while: the store, and each embedder."""

    vectors: Respite = field(default_factory=Respite)
    embedders: dict[str, Respite] = field(default_factory=dict)

    def of(self, look: _Look) -> Respite:
        """Of what the search is waiting for."""
        if look.doing == "vectors":
            return self.vectors
        return self.embedders.setdefault(look.semantic.embedder, Respite())


class SemanticCache:
    """Handler behind the exact cache and in front of a route's providers. A route that does not ask for it
    pays one look at its settings."""

    def __init__(self, inner: Handler, answers: Answers) -> None:
        self._inner = inner
        self._answers = answers
        self._rests = _Rests()

    async def __call__(self, call: Call) -> Reply:
        route = matched(call)
        if route.semantic is None or route.caching is None:
            return await self._inner(call)
        look = self._look(call, route, route.semantic)
        if look is None:
            return await self._inner(call)
        if look.slot.use.keep:
            call.when_kept = partial(self._kept, look)
        if look.slot.use.look:
            if look.semantic.mode == "shadow":
                # The real answer does not wait for it.
                self._answers.shelf.beside(self._shadowed(look))
            else:
                hit = await self._sought(look)
                if hit is not None:
                    return self._answered(look, hit)
        return await self._inner(call)

    def _look(self, call: Call, route: Route, semantic: Semantic) -> _Look | None:
        """None where this call has no part in it. Raises GatewayError for a header that makes no sense."""
        floor = threshold(call, semantic)
        assert route.caching is not None  # noqa: S101 - the caller has looked
        use = use_of(call, route.caching)
        if use.none:
            return None
        within = partition(call, route, route.caching)
        asked = question(call, within, semantic)
        if asked is None:
            self._answers.metrics.asked(route.pattern, "ineligible")
            return None
        slot = Slot(
            Place(within.team, within.route, within.epoch), exact(call, within), route, route.caching, use
        )
        return _Look(call, route, semantic, slot, asked, floor)

    async def _sought(self, look: _Look) -> _Hit | None:
        """The answer to a like question, within the time that the route allows for it. Never raises because
        something is away."""
        began = time.monotonic()
        hit = await self._limited(look, self._seek(look))
        seconds = time.monotonic() - began
        self._answers.metrics.took(look.route.pattern, seconds)
        if look.semantic.embedder != LOCAL:
            look.call.record.upstream_seconds += seconds
        return hit

    async def _limited(self, look: _Look, work: Coroutine[Any, Any, T]) -> T | None:
        """What the work gives, None when it fails or its time is over. Something that is frozen may not even
        hear that it is given up: so nobody waits for that either."""
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(_heard)
        try:
            done, _ = await asyncio.wait((task,), timeout=look.semantic.seconds)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not done:
            task.cancel()
            self._failed(look, "timeout")
            return None
        error = task.exception()
        if error is None:
            return task.result()
        if not isinstance(error, (GatewayError, OSError, TimeoutError)):
            raise error
        self._failed(look, "error", error)
        return None

    async def _seek(self, look: _Look) -> _Hit | None:
        answers, route = self._answers, look.route.pattern
        store = answers.vectors.get()
        vector = None if store is None or self._rests.vectors.resting else await self._vector(look)
        if store is None or vector is None:
            answers.metrics.asked(route, "skipped")
            return None
        look.doing = "vectors"
        neighbours = await store.nearest(look.question.partition, vector, _NEIGHBOURS)
        self._rests.vectors.worked()
        if neighbours:
            answers.metrics.nearest(route, neighbours[0].similarity)
        for found in neighbours:
            if found.similarity < look.floor:
                break
            hit = await self._fetched(look, found, store)
            if hit is not None:
                return hit
        answers.metrics.asked(route, "miss")
        return None

    async def _vector(self, look: _Look) -> bytes | None:
        """The question's vector; None while there is nothing to make it with."""
        if look.vector is None:
            rest = self._rests.of(look)
            if rest.resting:
                return None
            look.vector = await self._answers.embedders.embed(look.call, look.semantic, look.question.text)
            rest.worked()
        return look.vector

    async def _fetched(self, look: _Look, found: Found, store: VectorStore) -> _Hit | None:
        """The neighbour's answer, where the exact cache still has it and it can be said in this form."""
        slot = look.slot
        (entry,) = await self._answers.shelf.look(slot, [bytes.fromhex(found.key)])
        if entry is None:
            # Over its time, purged, or gone for want of room. A client that wants nothing old says nothing of
            # others.
            if slot.use.max_age >= slot.caching.ttl:
                await store.drop(look.question.partition, found.key)
            return None
        body = entry.said(look.call)
        return None if body is None else _Hit(found, entry, body)

    async def _shadowed(self, look: _Look) -> None:
        """Write down what would have been given."""
        hit = await self._sought(look)
        if hit is not None:
            look.call.record.semantic, look.call.record.similarity = "shadow_hit", hit.found.similarity
            self._answers.metrics.asked(look.route.pattern, "shadow_hit")
            self._note(look, "shadow", hit.found.key, hit.found.similarity)

    def _answered(self, look: _Look, hit: _Hit) -> Reply:
        """The answer of a like question as this call's reply."""
        call, record, shelf = look.call, look.call.record, self._answers.shelf
        # Nothing was asked of a provider, so there is nothing new to keep.
        call.when_kept = None
        record.dropped = list(hit.entry.head.dropped)
        record.semantic, record.similarity = "hit", hit.found.similarity
        if call.facts.stream:
            record.first_content = time.monotonic()
        shelf.hit(call, look.route, shelf.age(hit.entry), hit.entry.head.cost)
        call.reply_headers.append(("x-gateway-cache-similarity", f"{hit.found.similarity:.4f}"))
        self._answers.metrics.asked(look.route.pattern, "hit")
        self._note(look, "hit", hit.found.key, hit.found.similarity)
        return Reply(200, list(SSE_HEADERS if call.facts.stream else JSON_HEADERS), hit.body)

    async def _kept(self, look: _Look) -> None:
        """The call's own answer is in the exact cache: from now on like questions may have it."""
        await self._limited(look, self._index(look))

    async def _index(self, look: _Look) -> None:
        store = self._answers.vectors.get()
        look.doing = "embedder"
        vector = None if store is None or self._rests.vectors.resting else await self._vector(look)
        if store is None or vector is None:
            return
        look.doing = "vectors"
        key = look.slot.key.hex()
        await store.add(look.question.partition, key, vector, float(look.slot.use.ttl))
        self._rests.vectors.worked()
        if look.semantic.prompts:
            self._note(look, "kept", key, 1.0)

    def _note(self, look: _Look, kind: EventKind, entry: str, similarity: float) -> None:
        call = look.call
        event = Event(
            kind=kind,
            at=datetime.now(UTC),
            request_id=call.id,
            team=call.caller.team.id,
            route=look.route.id,
            model=_storable(call.facts.model),
            embedder=look.semantic.embedder,
            entry=entry,
            question=look.question.own,
            similarity=similarity,
            threshold=look.floor,
            prompt=_storable(look.question.text) if look.semantic.prompts else "",
        )
        self._answers.hits.note(event)

    def _failed(self, look: _Look, how: str, error: BaseException | None = None) -> None:
        # What is refused to one team, for its budget, says nothing of others.
        if not isinstance(error, GatewayError) or error.fault in _AWAY:
            self._rests.of(look).failed()
        self._answers.shelf.metrics.failed(f"{look.doing}_{how}")
        self._answers.metrics.asked(look.route.pattern, "failed")


def _heard(task: asyncio.Task[Any]) -> None:
    """What a task that was given up ends with is nobody's concern."""
    if not task.cancelled():
        task.exception()


def _storable(text: str) -> str:
    """Without what no database takes."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
