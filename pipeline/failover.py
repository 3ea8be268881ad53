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
from routing.snapshot import Target

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
        record = call.record
        # All attempts together have what the most patient of the targets allows.
        patience = max(target.provider.timeouts.total for target in chosen.candidates)
        call.deadline = call.deadline.sooner(patience)
        failed: tuple[Target, GatewayError] | None = None
        refusal: GatewayError | None = None
        asked = 0
        for target in chosen.candidates:
            _aim(call, target)
            before = len(record.attempts)
            try:
                return await self._inner(call)
            except GatewayError as error:
                if len(record.attempts) > before:
                    asked += 1
                    failed = target, error
                    if asked == MAX_ATTEMPTS or not _curable(error, call):
                        raise
                elif error.fault.name != BAD_REQUEST.name:
                    raise
                else:
                    # It cannot do this kind of request, or not without a loss that the route forbids; another
                    # may. Nobody was asked, so it is no attempt.
                    refusal = error
        if failed is not None:
            # What went wrong where the request could go says more than that it could not go elsewhere.
            _aim(call, failed[0])
            raise failed[1]
        assert refusal is not None, "every candidate returned or raised"  # noqa: S101 - a programmer's error, not input
        raise refusal

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
        call.record.losses = chosen.route.losses
        if not chosen.candidates:
            reasons = "; ".join(dict.fromkeys(out.reason for out in chosen.left_out)) or "the route is empty"
            raise GatewayError(
                BUSY,
                f"No provider for the model {model!r} is available now: {reasons}.",
                # Somebody may be about to set it right; a client that waits long would only hide that.
                Detail(code="no_healthy_target", retry_after=1),
            )
        return chosen


def _aim(call: Call, target: Target) -> None:
    call.target = target
    record = call.record
    record.provider = target.provider.name
    record.upstream_model = target.upstream_model or call.facts.model
    # What an earlier target could not carry is no loss of this one.
    record.dropped = []


def _curable(error: GatewayError, call: Call) -> bool:
    """Whether another provider may do better than the one that was asked and failed."""
    if error.fault.name not in _CURABLE or error.code in _FINAL or call.deadline.remaining() <= 0:
        return False
    cause = error.__cause__
    if not isinstance(cause, UpstreamError):
        return True
    if cause.reason == "first_byte_timeout":
        # The provider may be at work on it, and bill it: asking again would pay twice for a whole answer.
        return call.facts.stream
    return cause.reason != "too_large"
