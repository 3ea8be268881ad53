"""What a call may come to, before it is made, and what it is asked for that at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from dialects import estimate
from dialects.types import Usage
from pipeline.call import Call
from pipeline.stores import Ask, Demand, Verdict
from routing.allowances import Budget, Limit, period_end, period_start
from routing.plan import match
from routing.prices import cost
from routing.snapshot import ApiKey, Price

# What an answer is reserved at where the client sets no cap. Most are shorter. Models can say many times
# more, but with all of that reserved an ordinary limit would let one call through at a time. What a stream
# needs beyond it is reserved as it comes.
USUAL_OUTPUT = 4096
# Calls whose answer is no text.
_SILENT = frozenset(
    {"embeddings", "ollama_embed", "count_tokens", "response_tokens", "moderations", "rerank"}
    | {"files", "file_content", "batches"}
)
# A period's counter is kept until the last call that began in it is over.
_GRACE_SECONDS = 86_400.0


class Expected(Struct, frozen=True, gc=False):
    """What a call may use: tokens, and nano-dollars at the dearest of its route's targets, None where no
    price is known. `capped`: the client said how long the answer may be."""

    input_tokens: int
    output_tokens: int
    cost: int | None
    capped: bool

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class Began(Struct, frozen=True):
    """A budget's counter of the present period: its key, when the period began, and for how many seconds it
    is kept (None: for good)."""

    key: str
    budget: Budget
    start: datetime
    seconds: float | None


class Plea(Struct, frozen=True):
    """A demand with what each of its asks is for."""

    demand: Demand
    rows: tuple[Limit | Budget, ...]
    budgets: tuple[Began, ...] = ()


class Granted(Struct, frozen=True):
    """A plea that was let in."""

    plea: Plea
    verdict: Verdict


def expected(call: Call, *, priced: bool) -> Expected:
    """What the call may come to. `priced`: the cost matters too."""
    facts = call.facts
    given = estimate.tokens(facts.prompt_chars)
    answers = facts.n * _prompts(call)
    capped = facts.max_tokens is not None
    each = facts.max_tokens or 0
    if call.dialect.name in _SILENT:
        each, capped = 0, True
    elif not capped:
        each = USUAL_OUTPUT
    dearest = None
    if priced:
        usage = Usage(input_tokens=given, output_tokens=each * answers)
        known = [paid for price in _prices(call) if (paid := cost(price, usage)) is not None]
        dearest = max(known, default=None)
    return Expected(given, each * answers, dearest, capped)


def _prices(call: Call) -> Iterable[Price]:
    """Of each place that the call may go to, as far as they are known."""
    route = match(call.snapshot, call.facts.model, call.caller.team.id)
    for target in route.targets if route else ():
        if target.enabled and target.provider.enabled:
            model = target.upstream_model or call.facts.model
            row = call.snapshot.catalogue.get((target.provider.kind.name, model))
            if row is not None:
                yield row.price


def _prompts(call: Call) -> int:
    """Prompts in one request of legacy completions."""
    prompt = call.body.get("prompt")
    if call.dialect.name == "completions" and isinstance(prompt, list) and prompt:
        return 1 if isinstance(prompt[0], int) else len(prompt)
    return 1


def plea(call: Call, likely: Expected, now: float) -> Plea:
    """All that the key's limits and budgets have to say about this call. `now`: seconds since the epoch."""
    key = call.caller
    tag = _tag(key)
    model = call.facts.model
    asks: list[Ask] = []
    rows: list[Limit | Budget] = []
    for limit in key.limits:
        if limit.covers(model):
            asks.append(ask(limit, tag, likely))
            rows.append(limit)
    began = counters(key, now)
    for each in began:
        asks.append(_meter(each, likely))
        rows.append(each.budget)
    return Plea(Demand(call.id, tag, tuple(asks)), tuple(rows), began)


def counters(key: ApiKey, now: float) -> tuple[Began, ...]:
    """The counters of a key's budgets at this moment."""
    tag = _tag(key)
    return tuple(_began(budget, tag, now) for budget in key.budgets)


def more(granted: Sequence[Granted], call: str, tokens: int, paid: int) -> Plea:
    """Of the hard budgets alone: so many tokens more, and what they cost."""
    first = granted[0].plea
    likely = Expected(0, tokens, paid, capped=True)
    began = tuple(each for each in first.budgets if each.budget.hard)
    demand = Demand(f"{call}+{len(granted)}", first.demand.tag, tuple(_meter(each, likely) for each in began))
    return Plea(demand, tuple(each.budget for each in began), began)


def ask(limit: Limit, tag: str, likely: Expected) -> Ask:
    """What one limit is asked for."""
    key = f"{{{tag}}}:limit:{limit.id}:{limit.span}"
    if limit.kind == "concurrency":
        return Ask("lease", key, limit.amount)
    if limit.kind == "requests":
        return Ask("window", key, limit.amount, 1, limit.span)
    tokens = likely.tokens
    if not likely.capped:
        # Our own guess at an answer's length must not make a call impossible that would fit.
        tokens = max(likely.input_tokens, min(tokens, limit.amount))
    return Ask("window", key, limit.amount, tokens, limit.span)


def actual(granted: Granted, used: Usage, paid: int) -> tuple[int, ...]:
    """What was used in truth, for each ask."""
    tokens = used.input_tokens + used.output_tokens
    return tuple(_used(row, tokens, paid) for row in granted.plea.rows)


def _used(row: Limit | Budget, tokens: int, paid: int) -> int:
    if isinstance(row, Budget):
        return paid if row.unit == "usd" else tokens
    return {"requests": 1, "tokens": tokens, "concurrency": 0}[row.kind]


def _meter(began: Began, likely: Expected) -> Ask:
    budget = began.budget
    amount = (likely.cost or 0) if budget.unit == "usd" else likely.tokens
    return Ask("meter", began.key, budget.amount, amount, hard=budget.hard or not budget.amount)


def _began(budget: Budget, tag: str, now: float) -> Began:
    moment = datetime.fromtimestamp(now, UTC)
    start, end = period_start(budget.period, moment), period_end(budget.period, moment)
    key = f"{{{tag}}}:budget:{budget.id}:{budget.unit}:{start:%Y%m%d}:{budget.period}"
    seconds = None if end is None else (end - moment).total_seconds() + _GRACE_SECONDS
    return Began(key, budget, start, seconds)


def _tag(key: ApiKey) -> str:
    """Keys of a team share a place in a cluster; all keys do where they share a limit or budget."""
    rows: tuple[Limit | Budget, ...] = (*key.limits, *key.budgets)
    shared = any(row.scope == "everybody" for row in rows)
    return "all" if shared else f"team{key.team.id}"
