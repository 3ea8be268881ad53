"""How targets are now: calls in flight, time to first byte, breaker, cool-downs and refused credentials."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from pipeline.breaker import Breaker, Pass, State, Verdict
from pipeline.slots import Place, Slots
from routing.plan import FINE, Condition
from routing.snapshot import BreakerSettings, Credential, Priority, Target

# A target that has just come back gets a tenth of its share, and all of it after this many seconds: its
# caches and its own balancers are cold.
RAMP_SECONDS = 30.0
_RAMP_FROM = 0.1
# How fast a measured time to first byte is forgotten: after this many seconds an old one counts a third. A
# slower one than before counts at once.
_LATENCY_SECONDS = 10.0
# A refused credential is tried again after this long, and twice that each time, up to the maximum: it may
# have been renewed at the provider, and asking costs a failed attempt.
KEY_SECONDS = 60.0
_KEY_MAX = 3600.0
# A probe that has said nothing for this long is lost. As long as a stream may take to begin.
_PROBE_SECONDS = 60.0


class Listener(Protocol):
    """Hears of what operators want to know. It must not raise and must not wait."""

    def breaker(self, place: Place, state: State, seconds: float) -> None:
        """A breaker has changed; `seconds` is for how long it is open."""
        ...

    def credential(self, provider: str, label: str, seconds: float) -> None:
        """A credential was refused and is left alone for so long."""
        ...

    def waiting(self, group: Hashable, change: int) -> None:
        """One more call, or one less, waits in the line of a route."""
        ...


class Deaf:
    """Nobody listens."""

    def breaker(self, place: Place, state: State, seconds: float) -> None: ...

    def credential(self, provider: str, label: str, seconds: float) -> None: ...

    def waiting(self, group: Hashable, change: int) -> None: ...


class _State(Struct):
    breaker: Breaker
    latency: float | None = None
    measured: float = 0.0
    cool_until: float = 0.0
    why_cool: str = ""
    retries: int = 0


@dataclass(slots=True)
class _Refused:
    until: float
    times: int


class Ticket(Struct):
    """One attempt at a target, from its choice to the last byte of its answer. Every ticket ends with
    `done`."""

    live: LiveState
    place: Place
    leave: Pass
    started: float
    retry: bool = False
    _over: bool = False

    def answered(self) -> None:
        """The first content, or the whole answer, is here."""
        self.live.measured(self.place, self.live.clock() - self.started)

    def done(self, verdict: Verdict) -> None:
        """Give the place back and tell the breaker. Idempotent: the first word counts."""
        if not self._over:
            self._over = True
            self.live.finished(self, verdict)


class LiveState:
    """Kept per provider and upstream model, in this process. A `Live` for the plan."""

    def __init__(
        self,
        slots: Slots,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slots = slots
        self.clock = clock
        self._listener = listener or Deaf()
        self._states: dict[Place, _State] = {}
        self._refused: dict[int, _Refused] = {}
        self._retries = 0
        self._turn = 0

    @staticmethod
    def place(target: Target) -> Place:
        return target.provider.name, target.upstream_model

    def condition(self, target: Target) -> Condition:
        """As the plan wants it."""
        place = self.place(target)
        in_flight = self.slots.taken(place)
        full = self.slots.is_full(place, target.max_in_flight)
        keys = target.provider.credentials
        if keys and self._refused and not self.usable(keys):
            return self._without_key(target, in_flight)
        state = self._states.get(place)
        if state is None:
            return Condition(in_flight, full=full) if in_flight or full else self._untouched(target)
        state.breaker.settings = target.provider.breaker
        now = self.clock()
        out = self._out(target, state, now)
        if out is not None:
            return out
        return Condition(in_flight, state.latency, self._ramp(target, state, now), full=full)

    def start(self, target: Target, *, panic: bool = False, held: bool = False) -> Ticket | None:
        """Leave for one attempt at `target`; None: its breaker does not give it. `held`: its place was
        already taken, by waiting for it."""
        place = self.place(target)
        state = self._state(place, target)
        now = self.clock()
        if target.provider.breaker.mode == "auto":
            was = state.breaker.state
            leave = state.breaker.ask(now, _PROBE_SECONDS, panic=panic)
            if state.breaker.state != was:
                self._listener.breaker(place, state.breaker.state, 0.0)
        else:
            leave = Pass(-1)
        if leave is None:
            if held:
                self.slots.give_back(place)
            return None
        if not held:
            self.slots.take(place)
        return Ticket(self, place, leave, now)

    async def wait(
        self, places: Sequence[Place], group: Hashable, priority: Priority, seconds: float
    ) -> Place | None:
        """Stand in the line of `group` for the first of `places` that comes free, and take it; None: none
        did in time."""
        self._listener.waiting(group, 1)
        try:
            return await self.slots.wait(places, group, priority, seconds)
        finally:
            self._listener.waiting(group, -1)

    def may_retry(self, place: Place) -> bool:
        """Whether another attempt is within the budget: a fifth of what is in flight, three at least. Without
        it, retries multiply the load on a provider just when it has too much."""
        state = self._states.get(place)
        here = state.retries if state is not None else 0
        return here < max(3, self.slots.taken(place) // 5) and self._retries < max(3, self.slots.total // 5)

    def retried(self, ticket: Ticket) -> None:
        """The ticket is for a second or third attempt: it counts against the budget until it is done."""
        ticket.retry = True
        self._states[ticket.place].retries += 1
        self._retries += 1

    def measured(self, place: Place, seconds: float) -> None:
        state = self._states[place]
        now = self.clock()
        if state.latency is None or seconds >= state.latency:
            state.latency = seconds
        else:
            keep = 2.718281828 ** (-(now - state.measured) / _LATENCY_SECONDS)
            state.latency = state.latency * keep + seconds * (1 - keep)
        state.measured = now

    def finished(self, ticket: Ticket, verdict: Verdict) -> None:
        state = self._states[ticket.place]
        if ticket.retry:
            state.retries -= 1
            self._retries -= 1
        if ticket.leave.era >= 0:
            now = self.clock()
            changed = state.breaker.report(ticket.leave, verdict, now)
            if changed is not None:
                self._listener.breaker(ticket.place, changed, state.breaker.wait(now))
        self.slots.give_back(ticket.place)

    def cool(self, target: Target, seconds: float, why: str) -> None:
        """Leave the target alone for so long; a longer wish from before stays."""
        state = self._state(self.place(target), target)
        until = self.clock() + seconds
        if until > state.cool_until:
            state.cool_until, state.why_cool = until, why

    def pick(self, credentials: Sequence[Credential]) -> Credential | None:
        """The credential for the next attempt: of those that are not refused the one after the last."""
        usable = self.usable(credentials) if self._refused else credentials
        return self._next(usable) if usable else None

    def usable(self, credentials: Sequence[Credential]) -> Sequence[Credential]:
        """Those that no provider has refused of late."""
        now = self.clock()
        return [one for one in credentials if not self._is_refused(one.id, now)]

    def refuse(self, provider: str, credential: Credential, seconds: float | None = None) -> None:
        """Leave a credential alone for `seconds`; None: as long as one that the provider does not know,
        longer each time."""
        now = self.clock()
        known = self._refused.get(credential.id)
        if seconds is not None:
            until = now + seconds
            if known is None or until > known.until:
                self._refused[credential.id] = _Refused(until, known.times if known else 0)
            return
        times = known.times + 1 if known else 1
        seconds = min(KEY_SECONDS * 2 ** (times - 1), _KEY_MAX)
        self._refused[credential.id] = _Refused(now + seconds, times)
        self._listener.credential(provider, credential.label, seconds)

    def accepted(self, credential: Credential) -> None:
        """The provider took it: what was held against it is forgotten."""
        if self._refused:
            self._refused.pop(credential.id, None)

    def forget(self) -> None:
        """Hold nothing against anybody any more: breakers closed, no cool-downs, all credentials usable.
        Calls that are open stay counted."""
        self._refused.clear()
        for place, state in self._states.items():
            if state.breaker.state != "closed":
                self._listener.breaker(place, "closed", 0.0)
            state.breaker = Breaker(state.breaker.settings)
            state.cool_until, state.latency = 0.0, None

    def report(self) -> dict[Place, tuple[State, float]]:
        """Every known target's breaker and the seconds until it lets somebody through."""
        now = self.clock()
        return {
            # A copy: the admin asks from a thread of its own.
            place: (state.breaker.state, state.breaker.wait(now))
            for place, state in list(self._states.items())
        }

    def opened_elsewhere(self, place: Place, until: float, times: int) -> None:
        """Another replica has given this place up until then, for the `times`-th time in a row."""
        state = self._states.get(place)
        if state is None:
            # Its settings come with the first call.
            state = self._states[place] = _State(Breaker(BreakerSettings()))
        was = state.breaker.state
        state.breaker.override(until, times)
        if was == "closed":
            self._listener.breaker(place, "open", state.breaker.wait(self.clock()))

    def breakers(self) -> dict[Place, Breaker]:
        """The breakers themselves, for who shares them between replicas."""
        return {place: state.breaker for place, state in self._states.items()}

    def _next(self, credentials: Sequence[Credential]) -> Credential:
        if len(credentials) == 1:
            return credentials[0]
        self._turn += 1
        return credentials[self._turn % len(credentials)]

    def _is_refused(self, credential: int, now: float) -> bool:
        known = self._refused.get(credential)
        return known is not None and known.until > now

    def _state(self, place: Place, target: Target) -> _State:
        state = self._states.get(place)
        if state is None:
            state = self._states[place] = _State(Breaker(target.provider.breaker))
        return state

    def _out(self, target: Target, state: _State, now: float) -> Condition | None:
        wait = state.cool_until - now
        if wait > 0:
            return Condition(out=f"{state.why_cool}; it is left alone for {_seconds(wait)}", ready_in=wait)
        mode = target.provider.breaker.mode
        if mode == "open":
            return Condition(out="its breaker is held open by the operators")
        if mode == "closed":
            return None
        wait = state.breaker.wait(now)
        if wait <= 0:
            return None
        if state.breaker.state == "half_open":
            return Condition(out="its breaker waits for what a probe says", ready_in=1.0, last_resort=True)
        return Condition(
            out=f"its breaker is open for {_seconds(wait)} after failures", ready_in=wait, last_resort=True
        )

    def _untouched(self, target: Target) -> Condition:
        if target.provider.breaker.mode == "open":
            return Condition(out="its breaker is held open by the operators")
        return FINE

    def _without_key(self, target: Target, in_flight: int) -> Condition:
        now = self.clock()
        wait = min(self._refused[one.id].until for one in target.provider.credentials) - now
        words = f"the provider {target.provider.name} refused each of its credentials"
        return Condition(in_flight, out=f"{words}; tried again in {_seconds(wait)}", ready_in=wait)

    @staticmethod
    def _ramp(target: Target, state: _State, now: float) -> float:
        closed_at = state.breaker.closed_at
        if closed_at is None or target.provider.breaker.mode != "auto":
            return 1.0
        age = now - closed_at
        return 1.0 if age >= RAMP_SECONDS else _RAMP_FROM + (1 - _RAMP_FROM) * age / RAMP_SECONDS


def _seconds(wait: float) -> str:
    return f"{max(1, round(wait))} s"
