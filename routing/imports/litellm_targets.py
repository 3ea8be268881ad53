"""A LiteLLM group's deployments as a route's targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from routing.imports.litellm_models import Deployment
from routing.models import MAX_WEIGHT


def same(targets: Iterable[dict[str, Any]], new: dict[str, Any]) -> bool:
    """Whether a call would be tried at the same place again."""
    names = ("provider", "model", "body_patch", "after")
    return any(all(each.get(name) == new.get(name) for name in names) for each in targets)


def targets_of(deployments: Sequence[Deployment], *, shuffled: bool) -> list[dict[str, Any]]:
    """A group's targets: tiers by order, weights as LiteLLM shuffles; the same place twice is one."""
    orders = sorted({each.order for each in deployments if each.order is not None})
    weights: dict[str, int] = {}
    for order in (*orders, None):
        tier = [each for each in deployments if each.order == order]
        weights |= zip(
            (each.path for each in tier), _weights(tier) if shuffled else [1] * len(tier), strict=True
        )
    found: list[dict[str, Any]] = []
    for each in deployments:
        weight = weights[each.path]
        target: dict[str, Any] = {
            "provider": each.provider,
            "model": "" if each.model.endswith("*") else each.model,
            "weight": weight,
            "tier": len(orders) if each.order is None else orders.index(each.order),
        }
        if each.patch:
            target["body_patch"] = each.patch
        if each.at_once:
            target["max_in_flight"] = min(each.at_once, MAX_WEIGHT)
        twin = next((other for other in found if same([other], target)), None)
        if twin is None:
            found.append(target)
        else:
            twin["weight"] = min(twin["weight"] + weight, MAX_WEIGHT)
    return found


def _weights(deployments: Sequence[Deployment]) -> list[int]:
    """By weight, or by rpm or tpm where all have one, in small whole numbers."""
    if any(each.weight for each in deployments):
        shares = [1.0 if each.weight is None else each.weight for each in deployments]
    elif all(each.rpm for each in deployments):
        shares = [float(each.rpm or 1) for each in deployments]
    elif all(each.tpm for each in deployments):
        shares = [float(each.tpm or 1) for each in deployments]
    else:
        return [1] * len(deployments)
    scale = 1 if all(share == int(share) for share in shares) else 1000
    whole = [round(share * scale) for share in shares]
    divisor = math.gcd(*whole) or 1
    return [min(each // divisor, MAX_WEIGHT) for each in whole]
