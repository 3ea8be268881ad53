"""What happens in this process second by second, kept while somebody watches live traffic and else not."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping

from msgspec import Struct, field

from pipeline.breaker import State
from pipeline.call import Record, Refusal

# Upper bounds in seconds, each twice the one before: what is shown of a latency is right within that.
BOUNDS = tuple(0.005 * (1 << step) for step in range(16))
_SLOTS = len(BOUNDS) + 1
# A page shows no more in a second, and nobody reads more; the figures count all.
_MOST_ROWS = 20
# A reader that was late once has missed nothing.
_KEPT_SECONDS = 3
_MAX_TEXT = 200


class Row(Struct):
    """One request that has ended. `ms` and `first_ms`: in all, and to the first token; `cost`: nano-dollars,
    None where a price is unknown. No prompt, answer or secret is in it."""

    at: float
    request_id: str
    surface: str
    team: str
    key: str
    status: int
    code: str
    model: str = ""
    route: str = ""
    provider: str = ""
    ms: float = 0.0
    first_ms: float | None = None
    tokens: int = 0
    cost: int | None = None
    cache: str = ""


class Flow(Struct):
    """Requests of one team at one provider ("": none was asked) that ended in one second. `took` and `first`:
    how many were within each of BOUNDS, and over the last."""

    team: str
    provider: str
    ok: int = 0
    failed: int = 0
    took: list[int] = field(default_factory=lambda: [0] * _SLOTS)
    first: list[int] = field(default_factory=lambda: [0] * _SLOTS)


class Second(Struct):
    """`number` grows by one with each second of its process. `more`: requests that are not among `rows`."""

    number: int
    flows: list[Flow]
    rows: list[Row]
    more: int = 0


class Now(Struct):
    """How a process is at this moment. `in_flight`: by provider; `waiting`: by route; `breakers`: those that
    are not closed, with provider, upstream model, state and seconds left."""

    open: int = 0
    draining: bool = False
    in_flight: dict[str, int] = {}
    waiting: dict[str, int] = {}
    breakers: list[tuple[str, str, State, float]] = []


class Pulse(Struct):
    """What a process says of itself: how it is, and its last seconds."""

    process: str
    now: Now
    seconds: list[Second]


class PulseBook:
    """A book of the pipeline and of the door. While `watched` is False it keeps nothing."""

    def __init__(self, process: str, clock: Callable[[], float] = time.time) -> None:
        self.process = process
        self.watched = False
        self._clock = clock
        self._number = 0
        self._seconds: list[Second] = []
        self._clear()

    def opened(self, record: Record) -> None:
        """A request is shown when it has ended."""

    def closed(self, record: Record) -> None:
        if not self.watched:
            return
        took = record.ended - record.started
        first = record.first_content - record.started if record.first_content else None
        flow = self._flow(record.team, record.provider)
        if record.outcome == "ok":
            flow.ok += 1
        else:
            flow.failed += 1
        flow.took[bisect_left(BOUNDS, took)] += 1
        if first is not None:
            flow.first[bisect_left(BOUNDS, first)] += 1
        if self._has_room():
            used = record.used
            self._rows.append(
                Row(
                    at=self._clock(),
                    request_id=record.request_id,
                    surface=record.surface,
                    team=record.team,
                    key=record.key_prefix,
                    model=record.model[:_MAX_TEXT],
                    route=record.route,
                    provider=record.provider,
                    status=record.status,
                    code=record.code,
                    ms=round(took * 1000, 1),
                    first_ms=None if first is None else round(first * 1000, 1),
                    tokens=used.input_tokens + used.output_tokens if used else 0,
                    cost=record.cost,
                    cache=record.cache,
                )
            )

    def refused(self, refusal: Refusal) -> None:
        """A request that never became a call."""
        if not self.watched:
            return
        flow = self._flow(refusal.team, "")
        flow.failed += 1
        if self._has_room():
            self._rows.append(
                Row(
                    at=self._clock(),
                    request_id=refusal.request_id,
                    surface=refusal.surface,
                    team=refusal.team,
                    key=refusal.key_prefix,
                    status=refusal.status,
                    code=refusal.code,
                )
            )

    def tick(self, now: Now) -> Pulse:
        """A second is over: what is to be said of it and of those before."""
        self._number += 1
        ended = Second(self._number, list(self._flows.values()), self._rows, self._more)
        self._seconds = [*self._seconds, ended][-_KEPT_SECONDS:]
        self._clear()
        return Pulse(self.process, now, self._seconds)

    def _flow(self, team: str, provider: str) -> Flow:
        found = self._flows.get((team, provider))
        if found is None:
            found = self._flows[team, provider] = Flow(team, provider)
        return found

    def _has_room(self) -> bool:
        if len(self._rows) < _MOST_ROWS:
            return True
        self._more += 1
        return False

    def _clear(self) -> None:
        self._flows: dict[tuple[str, str], Flow] = {}
        self._rows: list[Row] = []
        self._more = 0


def share(counts: list[int], part: float) -> float | None:
    """The latency in seconds that `part` of those counted are within, drawn evenly between two bounds; None:
    there are none."""
    total = sum(counts)
    if not total:
        return None
    wanted, seen = part * total, 0
    for place, count in enumerate(counts):
        if seen + count >= wanted and count:
            if place == len(BOUNDS):
                return BOUNDS[-1]
            low = BOUNDS[place - 1] if place else 0.0
            return low + (BOUNDS[place] - low) * (wanted - seen) / count
        seen += count
    return BOUNDS[-1]


def added(flows: list[Flow], names: Callable[[Flow], str]) -> Mapping[str, Flow]:
    """The sums of those to which `names` gives the same name."""
    sums: dict[str, Flow] = defaultdict(lambda: Flow("", ""))
    for flow in flows:
        whole = sums[names(flow)]
        whole.ok += flow.ok
        whole.failed += flow.failed
        whole.took = [a + b for a, b in zip(whole.took, flow.took, strict=True)]
        whole.first = [a + b for a, b in zip(whole.first, flow.first, strict=True)]
    return sums
