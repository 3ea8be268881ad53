"""What tests of the cache share: a route that has one, two teams, and answers read with their headers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson

from accounts.keys import display_prefix, issue
from dialects.types import ModelFacts
from pipeline.tests.faults import served
from routing.caching import Caching, Purge
from routing.snapshot import ApiKey, CatalogueModel, Price, Snapshot, Team
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import Answer, Pair, address, parse_events, request_body, send

# A dollar for a million tokens in, two out: a nano-dollar is a thousandth of a token's price.
PRICE = Price(input=1.0, output=2.0)


@dataclass(frozen=True, slots=True)
class Teams:
    """Keys: two of the one team, one of another."""

    first: str
    colleague: str
    stranger: str


def cached(live: LiveGateway, pair: Pair, *, purges: tuple[Purge, ...] = (), **settings: Any) -> Teams:
    """Serve the pair's model by a route with a cache, to two teams."""
    route = live.route("*", served(live, pair), caching=Caching(**settings))
    return with_teams(live, live.snapshot([route]), pair, purges)


def with_teams(live: LiveGateway, snapshot: Snapshot, pair: Pair, purges: tuple[Purge, ...] = ()) -> Teams:
    """Serve by this configuration, with prices, to two teams."""
    colleague, stranger = issue(), issue()
    keys = dict(snapshot.keys)
    for number, (key, team) in enumerate(((colleague, live.team), (stranger, Team(2, "other"))), 2):
        digest = live.hasher.digest(key)
        keys[digest] = ApiKey(id=number, prefix=display_prefix(key), digest=digest, team=team)
    kinds = {provider.kind.name for provider in snapshot.providers.values()}
    catalogue = {(kind, pair.model): CatalogueModel(kind, ModelFacts(pair.model), PRICE) for kind in kinds}
    live.use(replace(snapshot, keys=keys, catalogue=catalogue, purges=purges))
    return Teams(live.key, colleague, stranger)


def say(
    live: LiveGateway, pair: Pair, *, key: str = "", stream: bool = False, sent: Any = None, **fields: Any
) -> Answer:
    """Ask with a key and these headers, and read the reply to its end; then whatever is kept of it is."""
    headers = {"authorization": f"Bearer {key or live.key}", **(sent or {})}
    body = orjson.dumps(request_body(pair, stream=stream, **fields))
    status, received, raw = send(live, "POST", address(pair.surface), body, headers)
    settled(live)
    answer = Answer(pair.surface, status, received, raw)
    if answer.streamed:
        answer.events = parse_events(raw)
    return answer


def settled(live: LiveGateway) -> None:
    """Wait until every call is over, and written down what is to be kept."""
    live.wait(lambda: live.ears.open == 0 and not live.shelf._jobs)


def metric(live: LiveGateway, name: str, **labels: str) -> float:
    """The value of a metric, 0 where nothing was counted."""
    return live.registry.get_sample_value(name, labels) or 0.0


def verdict(answer: Answer) -> str | None:
    """What the reply says of the cache."""
    return answer.header("x-gateway-cache")
