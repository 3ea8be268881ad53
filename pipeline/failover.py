"""Chooses targets by the plan and tries the next one when a target fails before its first content."""

from __future__ import annotations

from dialects.errors import (
    BAD_REQUEST,
    BUDGET,
    BUSY,
    NO_MODEL,
    PERMISSION,
    RATE,
    UPSTREAM_BAD,
    UPSTREAM_TIMEOUT,
    Detail,
    GatewayError,
)
from pipeline.call import Call, Handler, Reply
from providers.wire import UpstreamError
from routing.plan import Draw, Plan, allowed, plan

# Three in all: a fourth try rarely helps and multiplies the load on providers in trouble.
MAX_ATTEMPTS = 3
# What another target may cure. A 4xx that the request itself caused is the same everywhere; a budget is
# here the provider's: its account for us has no credit left, and another one may have.
_CURABLE = frozenset({UPSTREAM_BAD.name, UPSTREAM_TIMEOUT.name, RATE.name, BUSY.name, BUDGET.name})
# A provider that is set up wrongly, or an answer over our own caps: trying on would hide the one and repeat
# the cost of the other.
_FINAL = frozenset({"upstream_redirect", "upstream_event_too_large"})


class Failover:
    """Handler that sets `call.target` and calls `inner` once per candidate, each target once."""

    def __init__(self, inner: Handler, draw: Draw) -> None:
        self._inner = inner
        self._draw = draw

    async def __call__(self, call: Call) -> Reply:
        chosen = self._plan(call)
        tried = chosen.candidates[:MAX_ATTEMPTS]
        # All attempts together have what the most patient of the targets allows.
        call.deadline = call.deadline.sooner(max(t.provider.timeouts.total for t in tried))
        for number, target in enumerate(tried, start=1):
            call.target = target
            record = call.record
            record.provider = target.provider.name
            record.upstream_model = target.upstream_model or call.facts.model
            before = len(record.attempts)
            try:
                return await self._inner(call)
            except GatewayError as error:
                asked = len(record.attempts) > before
                if number == len(tried) or not _may_go_on(error, call, asked=asked):
                    raise
        raise AssertionError("unreachable: the last candidate returns or raises")

    def _plan(self, call: Call) -> Plan:
        model = call.facts.model
        if not allowed(call.caller, model):
            raise GatewayError(
                PERMISSION,
                f"This key may not use the model {model!r}.",
                Detail(code="model_not_allowed", param="model"),
            )
        chosen = plan(call.snapshot, call.facts, call.caller.team.id, self._draw)
        if chosen.route is None:
            raise GatewayError(
                NO_MODEL,
                f"The model {model!r} does not exist or you do not have access to it.",
                Detail(param="model"),
            )
        call.record.route = chosen.route.pattern
        if not chosen.candidates:
            raise GatewayError(
                BUSY,
                f"No provider for the model {model!r} is available now.",
                Detail(code="no_healthy_target", retry_after=5),
            )
        return chosen


def _may_go_on(error: GatewayError, call: Call, *, asked: bool) -> bool:
    """Whether the next target may be tried. `asked`: this one's provider was."""
    if not asked:
        # It cannot do this kind of request, or say it in its own words; another may.
        return error.fault.name == BAD_REQUEST.name
    if error.fault.name not in _CURABLE or error.code in _FINAL or call.deadline.remaining() <= 0:
        return False
    cause = error.__cause__
    if not isinstance(cause, UpstreamError):
        return True
    if cause.reason == "first_byte_timeout":
        # The provider may be at work on it, and bill it: asking again would pay twice for a whole answer.
        return call.facts.stream
    return cause.reason != "too_large"
