"""One call's way through its targets: whom to ask next, when, and with which credential."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from dialects.errors import BAD_REQUEST, BUSY, RATE, UPSTREAM_TIMEOUT, Detail, GatewayError
from pipeline.breaker import Verdict
from pipeline.call import Call, Record, Reply
from pipeline.failures import DEADLINE_CODES
from pipeline.live import LiveState, Ticket
from pipeline.outcomes import Outcome, judge
from pipeline.repeats import repeatable
from providers.wire import Timeouts
from routing.plan import Draw, Plan
from routing.snapshot import AS_PROVIDED, FailureClass, Patience, Target

# Three in all: a fourth try rarely helps and multiplies the load on providers in trouble.
MAX_ATTEMPTS = 3
# Full jitter between 0 and this, doubled each time, so that calls that failed together do not come back
# together.
BACKOFF_SECONDS = 0.25
_BACKOFF_MAX = 8.0
# A rate limit without a word on how long: limits are counted by the minute, a moment later is too soon.
_RATE_BACKOFF = 1.0
# A provider that asks for more is not waited for: its client is told how long, and can do something else.
# Longer than this nobody should be kept waiting without a word.
_LONGEST_WAIT = 5.0
# Said by an attempt's fault when its stream has broken: the provider's failure, and not the request's.
_BROKEN = frozenset({"upstream_bad", "upstream_timeout", "busy"})

Pause = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Means:
    """What an errand needs beside its call: live state, the draw, and how to wait."""

    live: LiveState
    draw: Draw
    pause: Pause = asyncio.sleep


class Admission(Protocol):
    """Says whether a target may be asked now, by limits of its own."""

    async def admit(self, call: Call, target: Target) -> GatewayError | None:
        """Why not; None: it may, and what the call is likely to use there is reserved."""
        ...


class Errand:
    """`run` asks the plan's targets in their order until one answers. Raises what the client is to be
    told."""

    def __init__(self, call: Call, chosen: Plan, means: Means, admission: Admission) -> None:
        if chosen.route is None:
            raise ValueError("a plan without a route leads nowhere")
        self._call = call
        self._route = chosen.route
        self._panic = chosen.panic
        self._live = means.live
        self._draw = means.draw
        self._pause = means.pause
        self._admission = admission
        self._todo = deque(chosen.candidates)
        self._full = list(chosen.full)
        self._spares = list(chosen.spares)
        self._tries: dict[int, int] = {}
        self._asked = 0
        self._reason = "first"
        self._refusal: GatewayError | None = None
        self._failed: tuple[Target, GatewayError] | None = None
        self._limited: GatewayError | None = None

    async def run(self, inner: Callable[[Call], Awaitable[Reply]]) -> Reply:
        """The reply of the first target that gives one."""
        try:
            return await self._run(inner)
        except GatewayError as error:
            if self._asked > 1:
                # An SDK that tried it twice more would make six or nine attempts of it.
                raise error.final() from error
            raise

    async def _run(self, inner: Callable[[Call], Awaitable[Reply]]) -> Reply:
        call = self._call
        ticket = await self._ticket()
        while True:
            target = call.target
            assert target is not None, "a ticket is for a target"  # noqa: S101 - a programmer's error, not input
            before = len(call.record.attempts)
            try:
                reply = await inner(call)
            except GatewayError as error:
                ticket = await self._after(error, ticket, target, asked=len(call.record.attempts) > before)
            except BaseException:
                ticket.done("neutral")
                raise
            else:
                self._won(ticket, before)
                return reply

    def _won(self, ticket: Ticket, before: int) -> None:
        """The answer has begun. The place is held, and the breaker waits, until its last byte has left."""
        call = self._call
        ticket.answered()
        if call.credential is not None:
            self._live.accepted(call.credential)
        record = call.record
        call.on_close(lambda: ticket.done(_verdict(record, before)))

    async def _after(self, error: GatewayError, ticket: Ticket, target: Target, *, asked: bool) -> Ticket:
        """A ticket for the next attempt after this failure. Raises the error that the client is to be
        told."""
        if not asked:
            ticket.done("neutral")
            if error.fault is not BAD_REQUEST:
                raise error
            # It cannot do this kind of request, or not without a loss that the route forbids; another may.
            # Nobody was asked, so it is no attempt.
            self._refusal = error
            return await self._ticket()
        outcome = judge(error, stream=self._call.facts.stream or self._route.late_fallback)
        ticket.done(outcome.verdict)
        self._asked += 1
        self._tries[target.id] = self._tries.get(target.id, 0) + 1
        self._failed = target, error
        other_key = self._note(outcome, error, target)
        if self._asked == MAX_ATTEMPTS or self._call.deadline.remaining() <= 0:
            raise error
        if not repeatable(self._call, error):
            raise error
        if not self._live.may_retry(ticket.place):
            self._call.record.budget_spent = True
            raise error
        if other_key:
            self._reason = "other credential"
            return await self._again(target, error)
        return await self._onward(outcome, error, target)

    async def _onward(self, outcome: Outcome, error: GatewayError, target: Target) -> Ticket:
        wait = self._wait(error)
        fits = wait <= min(_LONGEST_WAIT, self._call.deadline.remaining())
        untried = bool(self._todo or self._full)
        if outcome.again and fits and self._tries[target.id] < self._route.tries:
            return await self._later(wait, target, error)
        spare = self._spare(outcome.kind)
        if outcome.elsewhere and untried:
            if spare is not None:
                self._todo.append(spare)
            self._reason = f"after {outcome.kind}"
            return await self._ticket()
        if spare is not None:
            self._todo.appendleft(spare)
            self._reason = f"spare for {outcome.kind}"
            return await self._ticket()
        if outcome.again and fits:
            return await self._later(wait, target, error)
        raise error

    async def _later(self, wait: float, target: Target, error: GatewayError) -> Ticket:
        self._reason = "retry"
        await self._pause(wait)
        return await self._again(target, error)

    async def _again(self, target: Target, error: GatewayError) -> Ticket:
        """A ticket for the same target. Its breaker may have opened meanwhile: then the error stands."""
        ticket = self._start(target)
        if ticket is None or not await self._admitted(ticket, target):
            raise error
        return ticket

    async def _ticket(self) -> Ticket:
        """A ticket for the next target that can take the call. Raises where there is none."""
        while self._todo:
            target = self._todo.popleft()
            if self._live.slots.is_full(self._live.place(target), target.max_in_flight):
                self._full.append(target)
                continue
            ticket = self._start(target)
            if ticket is not None and await self._admitted(ticket, target):
                return ticket
        if self._full:
            return await self._queue()
        raise self._nobody()

    def _nobody(self) -> GatewayError:
        if self._failed is not None:
            # What went wrong where the request could go says more than that it could not go elsewhere.
            target, error = self._failed
            aim(self._call, target)
            return error
        told = self._limited or self._refusal
        if told is not None:
            return told
        return GatewayError(
            BUSY,
            f"No provider for the model {self._call.facts.model!r} is available now: those that failed are "
            "asked again soon.",
            Detail(code="no_healthy_target", retry_after=1),
        )

    async def _queue(self) -> Ticket:
        """A ticket for the first of the full targets that has a place. Raises BUSY where the line is too
        long or the wait too long."""
        call, queue, slots = self._call, self._route.queue, self._live.slots
        group = self._route.pattern
        targets = {self._live.place(target): target for target in reversed(self._full)}
        self._full.clear()
        seconds = min(queue.seconds, call.deadline.remaining())
        if queue.seconds <= 0 or slots.waiting(group) >= queue.limit:
            raise self._busy("overloaded", "All places at this model's providers are taken.")
        clock = self._live.clock
        began = clock()
        try:
            place = await self._live.wait(tuple(targets), group, call.caller.priority, seconds)
        finally:
            call.record.queue_seconds += clock() - began
        if place is None:
            if call.deadline.remaining() <= 0:
                raise GatewayError(
                    UPSTREAM_TIMEOUT,
                    "The request's time was over before a place came free.",
                    Detail(code="deadline_exceeded"),
                )
            raise self._busy("queue_timeout", "No place at this model's providers came free in time.")
        ticket = self._start(targets[place], held=True)
        if ticket is None or not await self._admitted(ticket, targets[place]):
            raise self._nobody()
        return ticket

    async def _admitted(self, ticket: Ticket, target: Target) -> bool:
        """Whether the provider's own limits let the call through; if not, the ticket is given back."""
        if not target.provider.limits:
            return True
        try:
            self._limited = await self._admission.admit(self._call, target)
        except BaseException:
            ticket.done("neutral")
            raise
        if self._limited is not None:
            ticket.done("neutral")
        return self._limited is None

    def _busy(self, code: str, words: str) -> GatewayError:
        if self._failed is not None:
            return self._nobody()
        return GatewayError(BUSY, words, Detail(code=code, retry_after=1))

    def _start(self, target: Target, *, held: bool = False) -> Ticket | None:
        keys = target.provider.credentials
        credential = self._live.pick(keys) if keys else None
        if keys and credential is None:
            if held:
                self._live.slots.give_back(self._live.place(target))
            return None
        ticket = self._live.start(target, panic=self._panic, held=held)
        if ticket is None:
            return None
        if self._asked:
            self._live.retried(ticket)
        call = self._call
        aim(call, target)
        call.credential = credential
        call.timeouts = timeouts(target, self._route.patience)
        call.reason = self._reason
        return ticket

    def _note(self, outcome: Outcome, error: GatewayError, target: Target) -> bool:
        """Remember what the failure says of credential and target. True when another credential can be tried
        there at once."""
        live, key = self._live, self._call.credential
        several = key is not None and len(target.provider.credentials) > 1
        if outcome.key and key is not None and error.fault is not RATE:
            live.refuse(target.provider.name, key)
            return live.pick(target.provider.credentials) is not None
        if outcome.key and several and key is not None:
            live.refuse(target.provider.name, key, outcome.cool)
            return live.pick(target.provider.credentials) is not None
        if outcome.cool > 0:
            live.cool(target, outcome.cool, "the provider asked for a pause")
        return False

    def _wait(self, error: GatewayError) -> float:
        """Seconds before the same target is asked again: what it asked for at least."""
        times = self._asked - 1
        base = _RATE_BACKOFF if error.fault is RATE else BACKOFF_SECONDS
        jitter = self._draw() * min(_BACKOFF_MAX, base * float(2**times))
        floor = error.detail.cool or 0.0
        return floor + (jitter / 10 if floor else jitter)

    def _spare(self, kind: FailureClass | None) -> Target | None:
        for target in self._spares:
            if kind in target.after:
                self._spares.remove(target)
                return target
        return None


def aim(call: Call, target: Target) -> None:
    """Write on the call and its record where it goes now."""
    call.target = target
    record = call.record
    record.provider = target.provider.name
    record.upstream_model = target.upstream_model or call.facts.model
    # What an earlier target could not carry is no loss of this one.
    record.dropped = []


def timeouts(target: Target, patience: Patience) -> Timeouts:
    """The provider's timeouts with what the route says otherwise."""
    if patience is AS_PROVIDED:
        return target.provider.timeouts
    ours = {name: getattr(patience, name) for name in Patience.__dataclass_fields__}
    return replace(
        target.provider.timeouts, **{name: value for name, value in ours.items() if value is not None}
    )


def _verdict(record: Record, attempt: int) -> Verdict:
    """What an attempt whose answer had begun says of its target, now that the call is closed."""
    # Several prompts of one request are an attempt each; the gateway's own answer is none.
    made = record.attempts[attempt:]
    if any(one.fault in _BROKEN and one.outcome not in DEADLINE_CODES for one in made):
        return "failed"
    return "ok" if made and made[-1].outcome == "ok" and record.outcome == "ok" else "neutral"
