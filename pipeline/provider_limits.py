"""Limits of what goes to one provider, asked when one of its targets is about to be tried."""

from __future__ import annotations

from functools import partial

from dialects.errors import GatewayError
from dialects.types import Usage
from pipeline.call import Call
from pipeline.prices import used_by
from pipeline.purse import Treasury, refusal
from pipeline.reservation import Granted, Plea, actual, ask, expected
from pipeline.stores import Demand
from routing.snapshot import Target


def provider_plea(call: Call, target: Target) -> Plea | None:
    """What the limits of the target's provider have to say about the next attempt; None: nothing."""
    limits = target.provider.limits
    if not limits:
        return None
    key, model = call.caller, call.facts.model
    rows = tuple(each for each in limits if each.is_for(key.team.id, key.id) and each.covers(model))
    if not rows:
        return None
    tag = f"provider{target.provider.id}"
    likely = expected(call, priced=False)
    attempt = len(call.record.attempts)
    demand = Demand(f"{call.id}>{attempt}", tag, tuple(ask(row, tag, likely) for row in rows))
    return Plea(demand, rows)


class ProviderLimits:
    """A provider without limits pays for none of it."""

    def __init__(self, treasury: Treasury) -> None:
        self._counters = treasury.counters
        self._metrics = treasury.metrics

    async def admit(self, call: Call, target: Target) -> GatewayError | None:
        """Why this target cannot take the call now, None where it can: then what it may use is reserved, and
        settled when the call closes."""
        plea = provider_plea(call, target)
        if plea is None:
            return None
        verdict = await self._counters.decide(plea)
        if not verdict.admitted:
            return refusal(plea, verdict, self._metrics)
        call.on_close(partial(self._settle, call, target, Granted(plea, verdict)))
        return None

    def _settle(self, call: Call, target: Target, granted: Granted) -> None:
        # What was reserved for an earlier target has been used by the last one.
        used = used_by(call) if call.target is target else Usage()
        amounts = actual(granted, used, paid=0)
        self._counters.store.settle(granted.plea.demand, granted.verdict, amounts)
