"""Finds the route of a call, once, and checks that its key may use the model."""

from __future__ import annotations

from dialects.errors import NO_MODEL, PERMISSION, Detail, GatewayError
from pipeline.call import Call
from routing.plan import allowed, match
from routing.snapshot import Route


def matched(call: Call) -> Route:
    """The call's route, written down on it. Raises GatewayError where the key may not use the model, or no
    route takes it: whatever answers a call, providers or the cache, has asked here before."""
    if call.route is not None:
        return call.route
    model = call.facts.model
    if not allowed(call.caller, model):
        raise GatewayError(
            PERMISSION,
            f"This key may not use the model {model!r}.",
            Detail(code="model_not_allowed", param="model"),
        )
    route = match(call.snapshot, model, call.caller.team.id)
    if route is None:
        raise GatewayError(
            NO_MODEL,
            f"The model {model!r} does not exist or you do not have access to it.",
            Detail(param="model"),
        )
    call.route = route
    call.record.route = route.pattern
    call.record.losses = route.losses
    return route
