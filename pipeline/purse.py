"""Refuses what limits and budgets do not allow, reserves what a call may use, and settles what it used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from dialects.errors import DEPENDENCY, Detail, GatewayError
from dialects.types import Usage
from pipeline.allowance_replies import budget_error, headers, rate_error, tightest
from pipeline.allowance_stream import AllowedStream
from pipeline.call import Call, Charge, Handler, Reply
from pipeline.ledger import NOBODY, Ledger
from pipeline.limit_line import LimitLines
from pipeline.limit_metrics import LimitMetrics
from pipeline.notices import Notices
from pipeline.prices import cost_of, used_by
from pipeline.reservation import Began, Granted, Plea, actual, expected, more, plea
from pipeline.stores import Demand, Store, Verdict
from routing.allowances import Budget

logger = logging.getLogger(__name__)

# What a budget's counter began at in a period, by the ledger: nano-dollars or tokens. It may block and raise.
Spent = Callable[[Budget, datetime], int]

# A ledger that needs longer does not hold up calls.
_LEDGER_SECONDS = 2.0
# A counter that was begun without the ledger is asked for again so soon.
_GUESS_SECONDS = 30.0
# Once for the counter that is unknown, once more where a period began in between.
_ROUNDS = 3


# What a key without limits and budgets asks.
NOTHING = Plea(Demand("", "", ()), ())


class Counters:
    """A store whose unknown budgets are begun by what the ledger says is spent."""

    def __init__(self, store: Store, spent: Spent) -> None:
        self.store = store
        self._spent = spent
        self._beginning: dict[str, asyncio.Task[None]] = {}

    async def decide(self, asked: Plea) -> Verdict:
        """Take all that is asked, or nothing. Raises GatewayError where the store forgets a counter as soon
        as it has begun."""
        for _ in range(_ROUNDS):
            verdict = await self.store.decide(asked.demand)
            if not verdict.missing:
                return verdict
            for began in asked.budgets:
                if began.key in verdict.missing:
                    await self._known(began)
        words = "The gateway cannot tell at the moment what is left of a budget."
        raise GatewayError(DEPENDENCY, words, Detail(retry_after=1))

    async def _known(self, began: Began) -> None:
        """Wait until the counter has begun. Calls that wait for the same one ask the ledger once."""
        task = self._beginning.get(began.key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._begin(began))
            self._beginning[began.key] = task
            task.add_done_callback(lambda _: self._beginning.pop(began.key, None))
        await asyncio.shield(task)

    async def _begin(self, began: Began) -> None:
        seconds = began.seconds
        try:
            async with asyncio.timeout(_LEDGER_SECONDS):
                used = await asyncio.to_thread(self._spent, began.budget, began.start)
        except Exception as error:  # noqa: BLE001 - whatever ails the ledger, calls go on by what the store knows
            # The type alone: a driver's text may name hosts and users.
            logger.error(  # noqa: TRY400 - as above
                "the ledger does not say what is spent of budget %d: %s",
                began.budget.id,
                type(error).__name__,
            )
            used, seconds = 0, _GUESS_SECONDS
        await self.store.seed(began.key, used, seconds)


@dataclass(frozen=True, slots=True)
class Treasury:
    """Where is counted what is used, who is told of it, and where it is written down."""

    counters: Counters
    notices: Notices
    metrics: LimitMetrics
    ledger: Ledger = NOBODY


class Purse:
    """Handler that lets a call through or refuses it. A key without limits and budgets asks nobody."""

    def __init__(self, inner: Handler, treasury: Treasury) -> None:
        self._inner = inner
        self._counters = treasury.counters
        self._notices = treasury.notices
        self._metrics = treasury.metrics
        self._lines = LimitLines(treasury.counters, treasury.metrics)
        self._ledger = treasury.ledger

    async def __call__(self, call: Call) -> Reply:
        caller = call.caller
        store = self._counters.store
        now = store.now()
        likely = expected(call, priced=True)
        charge = Charge(
            now, caller.team.id, caller.id, likely.input_tokens, likely.output_tokens, likely.cost
        )
        asked = plea(call, likely, now) if caller.limits or caller.budgets else NOTHING
        if not asked.rows:
            call.record.charge = charge
            return await self._inner(call)
        decided = await self._lines.decide(call, asked, likely)
        asked, verdict = decided.plea, decided.verdict
        left = tightest(asked.rows, verdict.levels)
        call.reply_headers += headers(call.dialect.family, left, store.now())
        if not verdict.admitted:
            raise refusal(asked, verdict, self._metrics)
        call.record.charge = charge
        granted = [decided]
        call.on_close(partial(self._settle, call, granted))
        reply = await self._inner(call)
        if not isinstance(reply.body, bytes) and any(budget.hard for budget in caller.budgets):
            reserve = partial(self._more, call, granted)
            # A provider keeps to the client's cap in its own tokens, of which ours are a guess.
            reserved = likely.output_tokens * (2 if likely.capped else 1)
            reply.body = AllowedStream(reply.body, call, reserved, reserve)
        elif call.conversation is not None and any(budget.hard for budget in caller.budgets):
            call.conversation.reserve = partial(self._more, call, granted)
        return reply

    async def _more(self, call: Call, granted: list[Granted], tokens: int) -> GatewayError | None:
        """Reserve for a stream that is longer than was reserved."""
        paid = cost_of(call, Usage(output_tokens=tokens))
        asked = more(granted, call.id, tokens, paid or 0)
        try:
            verdict = await self._counters.decide(asked)
        except GatewayError as error:
            return error
        if not verdict.admitted:
            return refusal(asked, verdict, self._metrics)
        granted.append(Granted(asked, verdict))
        charge = call.record.charge
        if charge is not None:
            charge.output_tokens += tokens
            charge.cost = None if charge.cost is None else charge.cost + (paid or 0)
            self._ledger.raised(call.record)
        return None

    def _settle(self, call: Call, granted: list[Granted]) -> None:
        """Runs when the call closes: after its usage is known, and before the books."""
        used = used_by(call)
        paid = cost_of(call, used)
        if paid is None:
            self._metrics.unpriced()
            paid = 0
        first, *later = granted
        for began in first.plea.budgets:
            self._notices.know(began)
        store = self._counters.store
        store.settle(first.plea.demand, first.verdict, actual(first, used, paid))
        self._lines.given_back(first.plea)
        # What was reserved on the way is in the sum of the first.
        for each in later:
            store.settle(each.plea.demand, each.verdict, (0,) * len(each.plea.rows))


def refusal(asked: Plea, verdict: Verdict, metrics: LimitMetrics) -> GatewayError:
    """Of all that refuse, a budget says so first: there waiting does not help. Then whoever makes wait the
    longest."""
    refusing = [
        (isinstance(row, Budget), level.wait, place)
        for place, (row, level) in enumerate(zip(asked.rows, verdict.levels, strict=True))
        if level.wait > 0
    ]
    place = max(refusing)[-1]
    row = asked.rows[place]
    if isinstance(row, Budget):
        metrics.refused("budget", row.scope)
        return budget_error(row)
    metrics.refused(row.kind, row.scope)
    return rate_error(row, asked.demand.asks[place], verdict.levels[place])
