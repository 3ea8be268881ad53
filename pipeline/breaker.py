"""The circuit breaker of one target: when to stop asking a provider that fails, and when to look again."""

from __future__ import annotations

from collections import deque
from typing import Literal

from msgspec import Struct

from routing.snapshot import BreakerSettings

State = Literal["closed", "open", "half_open"]
# What one attempt says of its target: it works, it does not, or nothing (the request's own fault, a client
# that left).
Verdict = Literal["ok", "failed", "neutral"]

# A window is counted in this many slices: old failures fall out a slice at a time.
_SLICES = 6
# A route whose targets are all open is asked all the same, once in this many seconds: somebody has to notice
# that one of them is back.
PANIC_SECONDS = 1.0


class Pass(Struct, frozen=True, gc=False):
    """Leave to ask the target. `probe`: the breaker waits for what this attempt says. `era` tells an
    answer that comes from before the last change of state."""

    era: int
    probe: bool = False


class Breaker:
    """Closed: asks are free and counted. Open: none until its time is over. Half open: one at a time, and
    what it says decides.

    Times are seconds on any clock that does not run backwards; the caller hands in `now`.
    """

    def __init__(self, settings: BreakerSettings) -> None:
        self.settings = settings
        self.state: State = "closed"
        self.open_until = 0.0
        self.closed_at: float | None = None
        self._era = 0
        self._opened = 0
        self._row = 0
        self._slices: deque[list[float]] = deque()
        self._probe_until = 0.0
        self._panic_at = -PANIC_SECONDS

    def wait(self, now: float) -> float:
        """Seconds until it lets somebody through; 0.0: now."""
        if self.state == "open":
            return max(0.0, self.open_until - now)
        if self.state == "half_open":
            return max(0.0, self._probe_until - now)
        return 0.0

    def ask(self, now: float, patience: float, *, panic: bool = False) -> Pass | None:
        """Leave to send one attempt now; None: not now. `patience`: seconds after which a probe that has not
        reported counts as lost, so that none can hold the breaker for ever."""
        if self.state == "closed":
            return Pass(self._era)
        if self.wait(now) > 0:
            if not panic or now - self._panic_at < PANIC_SECONDS:
                return None
            self._panic_at = now
        self.state = "half_open"
        self._probe_until = now + patience
        return Pass(self._era, probe=True)

    def report(self, leave: Pass, verdict: Verdict, now: float) -> State | None:
        """Take note of how an attempt went. The new state where that changed it."""
        if leave.era != self._era:
            # From before: what an old attempt says of a target that was opened or closed since is no news.
            return None
        if leave.probe:
            return self._probed(verdict, now)
        if verdict == "neutral":
            return None
        self._count(verdict, now)
        if verdict == "ok":
            self._row = 0
            return None
        self._row += 1
        return self._open(now) if self._too_many() else None

    def override(self, until: float, opened: int) -> None:
        """Take over what another replica knows: open until then, for the `opened`-th time in a row."""
        if self.state == "closed" or until > self.open_until:
            self.state, self.open_until, self._opened = "open", until, opened
            self._era += 1

    @property
    def opened(self) -> int:
        """How many times in a row it has opened without closing in between."""
        return self._opened

    def _probed(self, verdict: Verdict, now: float) -> State | None:
        if verdict == "ok":
            self.state = "closed"
            self._era += 1
            self._opened = self._row = 0
            self._slices.clear()
            self.closed_at = now
            return "closed"
        if verdict == "failed":
            return self._open(now)
        # It said nothing: the next one may probe at once.
        self._probe_until = now
        return None

    def _open(self, now: float) -> State:
        self._opened += 1
        self._era += 1
        self.state = "open"
        self.open_until = now + min(self.settings.open_seconds * self._opened, self.settings.max_open_seconds)
        self._row = 0
        self._slices.clear()
        return "open"

    def _count(self, verdict: Verdict, now: float) -> None:
        width = self.settings.window_seconds / _SLICES
        slices = self._slices
        while slices and slices[0][0] <= now - self.settings.window_seconds:
            slices.popleft()
        if not slices or slices[-1][0] <= now - width:
            slices.append([now, 0, 0])
        slices[-1][1] += 1
        slices[-1][2] += verdict == "failed"

    def _too_many(self) -> bool:
        settings = self.settings
        if self._row >= settings.consecutive:
            return True
        asked = sum(entry[1] for entry in self._slices)
        failed = sum(entry[2] for entry in self._slices)
        return asked >= settings.minimum and failed >= settings.ratio * asked
