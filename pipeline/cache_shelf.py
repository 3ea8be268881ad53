"""Looks answers up for a call, and keeps those that are fit to be given again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.cache_entry import Draft, Entry, Head, unpacked
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_rules import Use
from pipeline.cache_stores import CacheStore, Kept, Place
from pipeline.call import Call
from pipeline.prices import cost_of, used_by
from routing.caching import Caching
from routing.plan import unusable
from routing.snapshot import Route

NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a call's answer is kept, and by which settings."""

    place: Place
    key: bytes
    route: Route
    caching: Caching
    use: Use


class Shelf:
    """The store of answers, as calls use it. `wall` tells seconds since the epoch."""

    def __init__(
        self, store: CacheStore, metrics: CacheMetrics, wall: Callable[[], float] = time.time
    ) -> None:
        self.store = store
        self.metrics = metrics
        self._wall = wall
        self._jobs: set[asyncio.Task[Any]] = set()

    async def look(self, slot: Slot, keys: Sequence[bytes]) -> list[Entry | None]:
        """What is kept under these keys of the slot's place, and is young enough for the call."""
        found = await self.store.get(slot.place, keys)
        entries: list[Entry | None] = []
        for raw, key in zip(found, keys, strict=True):
            entry = None if raw is None else unpacked(raw, slot.place.team, key)
            young = entry is not None and self.age(entry) < slot.use.max_age
            entries.append(entry if young else None)
        return entries

    def age(self, entry: Entry) -> float:
        """Seconds since the answer was given; the clocks of two machines may differ."""
        return max(0.0, self._wall() - entry.head.at)

    def head(self, slot: Slot, key: bytes, form: Literal["stream", "whole", "vector"], call: Call) -> Head:
        """What is known of an answer that this call has got just now, but for its cost."""
        dropped = list(call.record.dropped)
        return Head(form=form, team=slot.place.team, key=key.hex(), at=self._wall(), dropped=dropped)

    async def keep(self, slot: Slot, entries: Sequence[Entry]) -> bool:
        """Write entries down, as far as they are not too large. True where there was one."""
        items = []
        for entry in entries:
            value = entry.packed()
            if len(value) <= slot.caching.max_bytes:
                items.append(Kept(bytes.fromhex(entry.head.key), value, float(slot.use.ttl)))
        await self.store.put(slot.place, items)
        return bool(items)

    async def draft(self, slot: Slot, call: Call, draft: Draft) -> bool:
        """Keep a complete answer, where its ending allows that; True where it did."""
        if not (draft.ending == "complete" or (draft.ending == "tools" and slot.caching.tools)):
            return False
        head = self.head(slot, slot.key, draft.form, call)
        head.cost, head.usage = cost_of(call, used_by(call)), draft.usage
        return await self.keep(slot, [Entry(head, draft.body)])

    def beside(self, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do it beside the calls."""
        task = asyncio.get_running_loop().create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)
        return task

    def hit(self, call: Call, route: Route, age: float, saved: int | None) -> None:
        """Write down that a call has been answered from here."""
        record = call.record
        record.cache, record.saved = "hit", saved
        call.reply_headers.append(("age", str(int(age))))
        if saved is not None:
            call.reply_headers.append(("x-gateway-cache-saved-usd", f"{saved / NANO:.9f}"))
        self.metrics.hit(route.pattern, age, saved)


def is_fallback(call: Call, route: Route) -> bool:
    """True where the answer is of a target that others come before: it must not outlast their outage."""
    target = call.target
    if target is None or target.after:
        return True
    usual = [each.tier for each in route.targets if unusable(each) is None and not each.after]
    return target.tier > min(usual, default=target.tier)
