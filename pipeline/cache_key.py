"""Under what an answer is kept: a partition that is closed to everybody else, and within it the request."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from dialects.cacheable import canonical
from pipeline.cache_rules import CONTROL_HEADERS
from pipeline.call import Call
from pipeline.failover import SESSION_HEADER
from routing.caching import Caching
from routing.plan import unusable
from routing.snapshot import Route

# Stands in every digest. Another number makes all that is kept unknown: for when what is kept, or how
# requests are translated, changes so much that older answers must not be given.
_VERSION = "llm-gateway-cache-1"
# Headers that reach providers and change nothing of the answer, and those that are for the cache itself.
_NOT_ASKED = CONTROL_HEADERS | {"idempotency-key", SESSION_HEADER}
# Lists whose order says nothing.
_SETS = frozenset({"anthropic-beta", "openai-beta"})


@dataclass(frozen=True, slots=True)
class Partition:
    """Who may share an answer, and which configuration it came from. `key` 0: the whole team; `epoch`: the
    last purge that it has outlived; `facts`: digest of what of the route decides its answers."""

    team: int
    key: int
    route: int
    epoch: int
    facts: str


def partition(call: Call, route: Route, caching: Caching) -> Partition:
    """The partition of a call: nothing kept in one is ever looked for in another."""
    return Partition(
        team=call.caller.team.id,
        key=call.caller.id if caching.scope == "key" else 0,
        route=route.id,
        epoch=call.snapshot.cache_epoch(call.caller.team.id, route.id),
        facts=_digest("route", [route.losses, _targets(route)]).hex(),
    )


def digest(kind: str, within: Partition, *parts: Any) -> bytes:
    """32 bytes that stand for `parts` (anything that JSON can hold) in this partition. `kind` keeps apart
    what is kept for different uses."""
    place = [within.team, within.key, within.route, within.epoch, within.facts]
    return _digest(kind, [place, *parts])


def exact(call: Call, within: Partition) -> bytes:
    """The key of a whole request: the order of its fields does not matter, and whether it is streamed does
    not either."""
    return digest("exact", within, call.dialect.name, headers(call), canonical(call.body))


def headers(call: Call) -> dict[str, Any]:
    """The client's headers that reach a provider and may change its answer."""
    return {
        name: sorted(part.strip() for part in value.split(",")) if name in _SETS else value
        for name, value in call.headers.items()
        if name not in _NOT_ASKED
    }


def _targets(route: Route) -> list[list[Any]]:
    """Who may answer, and what is set on their bodies; weights and tiers do not change what they say."""
    return sorted(
        [
            target.provider.id,
            target.provider.kind.name,
            target.provider.base_url,
            target.upstream_model,
            orjson.dumps(target.body_patch, option=orjson.OPT_SORT_KEYS).decode(),
        ]
        for target in route.targets
        if unusable(target) is None
    )


def _digest(kind: str, value: list[Any]) -> bytes:
    return hashlib.sha256(orjson.dumps([_VERSION, kind, value], option=orjson.OPT_SORT_KEYS)).digest()
