"""What waits to be exported, and the thread that exports it: bounded, in batches, holding up no call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter

# What the end of the process waits for the last export, after the drain.
LAST_SECONDS = 3.0
# For an export that was broken off.
_GRACE = 0.5

Item = TypeVar("Item")


class Bounds(Struct, frozen=True):
    """`most` items wait, `batch` of them go at once, after `gather` seconds or when so many are there."""

    most: int
    batch: int
    gather: float


class SpanCounts:
    """What became of spans."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = Counter(
            "gateway_trace_spans",
            "Spans by what became of them: exported, failed (the collector did not take them), dropped (the "
            "queue was full).",
            ("outcome",),
            registry=registry,
        )
        self.exported, self.failed, self.dropped = (
            counter.labels(outcome) for outcome in ("exported", "failed", "dropped")
        )


class SpanQueue(Generic[Item]):
    """`export` sends a batch and says whether it arrived; it runs in a thread of its own, and what it raises
    is a failure. `weigh`: the spans of one item. `give_up` makes a running export end soon, and every later
    one fail. `put` may be called from any thread."""

    def __init__(
        self,
        export: Callable[[Sequence[Item]], bool],
        weigh: Callable[[Item], int],
        give_up: Callable[[], None],
        counts: SpanCounts,
        bounds: Bounds,
    ) -> None:
        self._export = export
        self._weigh = weigh
        self._give_up = give_up
        self._counts = counts
        self._bounds = bounds
        self._waiting: deque[Item] = deque()
        self._wake = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)

    def start(self) -> None:
        """Begin to export."""
        self._thread.start()

    def put(self, item: Item) -> None:
        """Keep an item until it is exported; where there is no room for it, it is dropped. Never waits."""
        if len(self._waiting) >= self._bounds.most:
            self._counts.dropped.inc(self._weigh(item))
            return
        self._waiting.append(item)
        if len(self._waiting) >= self._bounds.batch and not self._wake.is_set():
            self._wake.set()

    def stop(self, seconds: float = LAST_SECONDS) -> None:
        """Export what waits, for so long at most. Idempotent."""
        if self._over:
            return
        self._over = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(seconds)
        self._give_up()
        if self._thread.is_alive():
            self._thread.join(_GRACE)
        self._counts.dropped.inc(sum(map(self._weigh, self._take(len(self._waiting)))))

    def _run(self) -> None:
        while not self._over:
            self._wake.wait(self._bounds.gather)
            self._wake.clear()
            self._send_all()
        # What came while the last batch was on its way.
        self._send_all()

    def _send_all(self) -> None:
        """All that waits now. What comes meanwhile is for the next time, so that batches fill up."""
        left = len(self._waiting)
        while left > 0:
            batch = self._take(min(left, self._bounds.batch))
            left -= self._bounds.batch
            spans = sum(map(self._weigh, batch))
            try:
                arrived = self._export(batch)
            except Exception:  # noqa: BLE001 - a background loop: what one batch does must not end it
                arrived = False
            (self._counts.exported if arrived else self._counts.failed).inc(spans)

    def _take(self, most: int) -> list[Item]:
        taken: list[Item] = []
        # At the end of the process two threads may take.
        with suppress(IndexError):
            while len(taken) < most:
                taken.append(self._waiting.popleft())
        return taken
