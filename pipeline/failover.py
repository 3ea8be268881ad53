"""Finds the route of a call, and sends it on its way through the route's targets."""

from __future__ import annotations

from functools import partial

from dialects.errors import BUSY, Detail, GatewayError
from pipeline.call import Call, Handler, Reply
from pipeline.errand import Admission, Errand, Means, timeouts
from pipeline.matching import matched
from routing.plan import Chance, Plan, plan_along
from routing.snapshot import Affinity, Route

# The longest that a client is told to wait for a target: it may be back sooner, and a new one may be there.
_RETRY_LIMIT = 60.0
# By which a client names its session, where the body does not.
SESSION_HEADER = "x-session-id"


class Failover:
    """Handler that plans, and calls `inner` with `call.target` set until a target answers or none is left."""

    def __init__(self, inner: Handler, means: Means, admission: Admission) -> None:
        self._inner = inner
        self._means = means
        self._admission = admission

    async def __call__(self, call: Call) -> Reply:
        route = matched(call)
        chosen = self._plan(call, route)
        call.integrity = route.integrity
        call.drains = route.on_disconnect == "drain"
        # All attempts together have what the most patient of the targets allows.
        some = (*chosen.candidates, *chosen.full)
        call.deadline = call.deadline.sooner(max([timeouts(target, route.patience).total for target in some]))
        return await Errand(call, chosen, self._means, self._admission).run(self._inner)

    def _plan(self, call: Call, route: Route) -> Plan:
        chance = Chance(self._means.draw, self._means.live, partial(common_word, call))
        chosen = plan_along(route, call.snapshot, call.facts, chance)
        if not chosen.candidates and not chosen.full:
            raise _nobody(call.facts.model, chosen)
        return chosen


def _nobody(model: str, chosen: Plan) -> GatewayError:
    reasons = "; ".join(dict.fromkeys(out.reason for out in chosen.left_out)) or "the route is empty"
    # Where nobody knows when: somebody may be about to set it right, and a client that waits long would only
    # hide that.
    wait = 1.0 if chosen.ready_in is None else min(max(1.0, chosen.ready_in), _RETRY_LIMIT)
    return GatewayError(
        BUSY,
        f"No provider for the model {model!r} is available now: {reasons}.",
        Detail(code="no_healthy_target", retry_after=wait),
    )


def common_word(call: Call, affinity: Affinity) -> str:
    """What calls that belong together have in common: the key, or the session that the client names."""
    if affinity == "key":
        return call.caller.prefix
    named = call.headers.get(SESSION_HEADER) or call.body.get("prompt_cache_key") or call.facts.end_user
    # Two teams may call their sessions alike.
    return f"{call.caller.team.id}:{named}" if isinstance(named, str) and named else ""
