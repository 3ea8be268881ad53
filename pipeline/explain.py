"""Says where a request would go and why, by the functions that route, translate and charge in earnest.

Nothing is decided here, no provider is asked, nothing is counted, and no text of a request is in the answer.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial

import orjson

from dialects.errors import GatewayError
from dialects.table import LOCAL
from dialects.types import Usage
from pipeline.call import Call, Record
from pipeline.explain_cache import cache_said
from pipeline.explanation import Allowance, Explanation, KeySaid, Means, Question, RouteSaid, TargetSaid
from pipeline.failover import common_word
from pipeline.provider_limits import provider_plea
from pipeline.request import translate
from pipeline.reservation import Expected, Plea, expected, plea
from pipeline.upstream import dialect_for
from routing.allowances import Budget, Limit, period_end
from routing.fit import unfit
from routing.plan import CALM, Chance, Condition, Live, Plan, allowed, plan
from routing.prices import NO_PRICE, cost
from routing.snapshot import ApiKey, Snapshot, Target, Team

# Drawings of the plan of which the shares are told: the standard error is 1.6 points at the most.
_ROUNDS = 1000
# Whose question has no key sees the common routes, and is stopped by no limit.
_NOBODY = ApiKey(id=0, prefix="", digest=b"", team=Team(0, ""))


def explain(snapshot: Snapshot, question: Question, means: Means) -> Explanation:
    """What would become of the request by this configuration."""
    call = _call(snapshot, question)
    likely = expected(call, priced=True)
    key = question.key
    team = key.team.id if key else None
    chosen, shares = _planned(call, team, means.live or CALM)
    said = Explanation(
        revision=snapshot.revision,
        surface=question.dialect.name,
        model=call.facts.model,
        stream=call.facts.stream,
        needs=sorted(call.facts.needs),
        input_tokens=likely.input_tokens,
        output_tokens=likely.output_tokens,
        outcome="",
        live=means.live is not None,
        key=_key(key, call.facts.model, means.now) if key else None,
        limits=list(_allowances(plea(call, likely, means.now.timestamp()), likely, means)) if key else [],
        route=_route(chosen),
        cache=cache_said(call, chosen.route, question, means),
        targets=list(_targets(chosen, shares, call, question, likely)),
        panic=chosen.panic,
    )
    _now(said.targets, chosen, call, likely, means)
    said.outcome = _outcome(said)
    return said


def _call(snapshot: Snapshot, question: Question) -> Call:
    facts, key = question.facts, question.key or _NOBODY
    # Not strict: what would be lost is told of each target, and what the route makes of it beside.
    record = Record(request_id="explain", surface=question.dialect.name, started=0.0, model=facts.model)
    return Call(
        dialect=question.dialect,
        raw=b"" if question.body is None else orjson.dumps(question.body),
        body=question.body or {"model": facts.model},
        facts=facts,
        caller=key,
        snapshot=snapshot,
        record=record,
        headers={},
    )


class _Held:
    """How targets are, each asked once, so that all drawings are of the same moment."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._held: dict[int, Condition] = {}

    def condition(self, target: Target) -> Condition:
        found = self._held.get(target.id)
        if found is None:
            found = self._held[target.id] = self._live.condition(target)
        return found


def _planned(call: Call, team: int | None, live: Live) -> tuple[Plan, Counter[int]]:
    """The plan, with its candidates in their usual order, and how often each of them comes first."""
    # The same question has the same answer.
    chance = Chance(random.Random(0).random, _Held(live), partial(common_word, call))
    drawn = plan(call.snapshot, call.facts, team, chance)
    first, places = Counter[int](), Counter[int]()
    for _ in range(_ROUNDS if len(drawn.candidates) > 1 else 1):
        drawn = plan(call.snapshot, call.facts, team, chance)
        first.update(target.id for target in drawn.candidates[:1])
        for place, target in enumerate(drawn.candidates):
            places[target.id] += place
    usual = sorted(drawn.candidates, key=lambda target: places[target.id])
    chosen = Plan(
        drawn.route,
        tuple(usual),
        drawn.full,
        drawn.spares,
        drawn.left_out,
        panic=drawn.panic,
        ready_in=drawn.ready_in,
    )
    return chosen, first


def _key(key: ApiKey, model: str, now: datetime) -> KeySaid:
    return KeySaid(
        prefix=key.prefix,
        label=key.label,
        team=key.team.name,
        priority=key.priority,
        allowed_models=list(key.allowed_models),
        allowed=allowed(key, model),
        expired=key.expires_at is not None and key.expires_at <= now,
    )


def _route(chosen: Plan) -> RouteSaid | None:
    route = chosen.route
    if route is None:
        return None
    return RouteSaid(
        id=route.id,
        name=route.name,
        pattern=route.pattern,
        for_every_team=route.team_id is None,
        balance=route.balance,
        affinity=route.affinity,
        losses=route.losses,
    )


def _allowances(asked: Plea, likely: Expected, means: Means) -> Iterator[Allowance]:
    asks = asked.demand.asks
    began = {each.budget.id: each.start for each in asked.budgets}
    counted = means.counted(asks) if means.counted and asks else [None] * len(asks)
    for row, ask, used in zip(asked.rows, asks, counted, strict=True):
        if means.hides(row):
            continue
        if isinstance(row, Budget):
            unpriced = row.unit == "usd" and likely.cost is None
            yield _with(_budget(row, None if unpriced else ask.amount, means.now),
                        means.spent(row, began[row.id]))  # fmt: skip
        else:
            yield _with(_limit(row, ask.amount), used)


def _with(said: Allowance, used: int | None) -> Allowance:
    if used is not None:
        said.used, said.left = used, max(0, said.amount - used)
        said.fits = not said.hard or used + (said.asks or 0) <= said.amount
    if not said.amount:
        # A row that cannot be understood lets nothing through.
        said.fits = False
    return said


def _limit(limit: Limit, asks: int) -> Allowance:
    unit = "requests at once" if limit.kind == "concurrency" else f"{limit.kind} in {limit.span} s"
    what = f"limit of {limit.model}" if limit.model else "limit"
    return Allowance(what, limit.scope, limit.id, unit, limit.amount, asks)


def _budget(budget: Budget, asks: int | None, now: datetime) -> Allowance:
    return Allowance(
        what="budget in total" if budget.period == "total" else f"budget of a {budget.period}",
        whose=budget.scope,
        id=budget.id,
        unit="nano-dollars" if budget.unit == "usd" else "tokens",
        amount=budget.amount,
        asks=asks,
        hard=budget.hard or not budget.amount,
        resets=period_end(budget.period, now.astimezone(UTC)),
    )


def _targets(
    chosen: Plan, shares: Counter[int], call: Call, question: Question, likely: Expected
) -> Iterator[TargetSaid]:
    reasons = {left.target.id: left.reason for left in chosen.left_out}
    placed = {target.id for target in (*chosen.candidates, *chosen.full, *chosen.spares)}
    rest = tuple(left.target for left in chosen.left_out if left.target.id not in placed)
    rounds = shares.total() or 1
    for state, targets in (
        ("candidate", chosen.candidates),
        ("full", chosen.full),
        ("spare", chosen.spares),
        ("left out", rest),
    ):
        for target in targets:
            said = TargetSaid(
                id=target.id,
                provider=target.provider.name,
                model=target.upstream_model or call.facts.model,
                tier=target.tier,
                weight=target.weight,
                state=state,
                reason=reasons.get(target.id),
                first=shares[target.id] / rounds,
                lacking=unfit(call.snapshot, call.facts, target) if target.id in placed else None,
                at_once=target.max_in_flight,
            )
            row = call.snapshot.catalogue.get((target.provider.kind.name, said.model))
            usage = Usage(input_tokens=likely.input_tokens, output_tokens=likely.output_tokens)
            said.cost = cost(row.price if row else NO_PRICE, usage)
            _translated(said, target, call, question)
            yield said


def _translated(said: TargetSaid, target: Target, call: Call, question: Question) -> None:
    """What of the request cannot travel to the target."""
    said.spoken = dialect_for(call, target, said.model)
    said.passes = said.spoken == call.dialect.name
    if said.spoken is None:
        if call.dialect.name not in LOCAL:
            said.refuses = "The provider cannot do this kind of request."
        return
    if question.body is None:
        return
    try:
        translate(call, target, said.spoken)
    except GatewayError as error:
        said.refuses = error.message
    else:
        said.dropped = list(call.record.dropped)


def _now(targets: Iterable[TargetSaid], chosen: Plan, call: Call, likely: Expected, means: Means) -> None:
    """What is known of each target at this moment."""
    rows = {target.id: target for target in chosen.route.targets} if chosen.route else {}
    for said in targets:
        target = rows[said.id]
        asked = provider_plea(call, target)
        if asked is not None:
            said.limits = list(_allowances(asked, likely, means))
        if means.live is not None:
            said.in_flight = means.live.condition(target).in_flight


def _outcome(said: Explanation) -> str:
    key, route = said.key, said.route
    if key is not None and key.expired:
        return "Refused with 401: the key has expired."
    if key is not None and not key.allowed:
        return f"Refused with 403: the key's list of models has no place for {said.model}."
    if route is None:
        return f"Refused with 404: no route takes {said.model}."
    full = next((each for each in said.limits if each.fits is False), None)
    if full is not None:
        return f"Refused with 429: the {full.what} of {full.whose} has no room for it."
    if said.cache is not None and said.cache.state == "hit":
        return f"It is answered from the cache: {said.cache.why}."
    able = [each for each in said.targets if each.state == "candidate"]
    if not able:
        waits = any(each.state == "full" for each in said.targets)
        return "It waits for a place." if waits else "Refused with 503: no target takes it now."
    return _first(said, able)


def _first(said: Explanation, able: Sequence[TargetSaid]) -> str:
    strict = said.route is not None and said.route.losses == "strict"
    willing = [each for each in able if not each.refuses and not (strict and each.dropped)]
    if not willing:
        return "Refused with 400: it cannot travel to any of the targets."
    willing = [each for each in willing if not each.is_at_its_limit]
    if not willing:
        return "Refused with 429: the providers' limits have no room for it."
    likeliest = max(willing, key=lambda each: each.first)
    share = f" ({likeliest.first:.0%} of such requests)" if 0 < likeliest.first < 0.995 else ""
    return f"It goes to {likeliest.provider}/{likeliest.model} first{share}."
