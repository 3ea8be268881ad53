"""What a change would have done to requests: by hand, and by counting."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.types import Facts, ModelFacts, Usage
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.impact import KEY, MODEL, ROUTE, SURFACE, TARGET, Alike, Impact, Place, Shares, flows, impact
from routing.snapshot import (
    ApiKey,
    CatalogueModel,
    Credential,
    Price,
    Provider,
    Route,
    Snapshot,
    Target,
    Team,
)

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
KEY_ROW = ApiKey(id=9, prefix="gw-abc", digest=b"d", team=Team(7, "crew"))


def provider(number: int, name: str) -> Provider:
    secrets = (Credential(id=number, label="", last4="", secret="s"),)
    return Provider(number, name, KINDS[name], "https://api.example", Timeouts(), secrets)


OPENAI, MISTRAL, ANTHROPIC = provider(1, "openai"), provider(2, "mistral"), provider(3, "anthropic")
HERE, THERE = Target(1, OPENAI), Target(2, MISTRAL)
ROUTE_ROW = Route(1, "all", "m-*", (HERE,))


def config(*routes: Route, key: ApiKey | None = KEY_ROW, **prices: Price) -> Snapshot:
    """A configuration; prices are those of m-1 at each kind."""
    return Snapshot(
        revision=1,
        routes=routes,
        keys={} if key is None else {key.digest: key},
        catalogue={
            (kind, "m-1"): CatalogueModel(kind, ModelFacts("m-1"), price) for kind, price in prices.items()
        },
    )


def asked(model: str = "m-1", count: int = 10, surface: str = "chat", usage: Usage | None = None) -> Alike:
    facts = Facts(model=model, max_tokens=100, prompt_chars=400)
    return Alike(9, "gw-abc", "crew", surface, facts, count, usage or Usage(), paid=5)


def told(before: Snapshot, after: Snapshot, *requests: Alike) -> Impact:
    return impact(before, after, requests or [asked()], NOW)


def test_what_does_not_change_is_not_told_although_draws_decide() -> None:
    drawn = config(Route(1, "all", "m-*", (HERE, THERE), balance="weighted"))
    found = told(drawn, drawn, asked(), asked("m-2", 990))
    assert found == Impact(requests=1000, paid=10, unpriced=0.0)


def test_a_route_that_goes_elsewhere() -> None:
    found = told(config(ROUTE_ROW), config(replace(ROUTE_ROW, targets=(THERE,))))
    assert [(m.source, m.to, m.requests) for m in found.moves] == [("openai/m-1", "mistral/m-1", 10)]
    assert (found.moved, found.other_provider, found.refused) == (10, 10, 0)


def test_another_model_at_the_same_provider_is_a_move_and_no_other_provider() -> None:
    found = told(
        config(ROUTE_ROW), config(replace(ROUTE_ROW, targets=(replace(HERE, upstream_model="m-9"),)))
    )
    assert (found.moved, found.other_provider) == (10, 0)


def test_a_draw_moves_a_share_of_them() -> None:
    after = config(replace(ROUTE_ROW, targets=(replace(HERE, weight=3), THERE)))
    found = told(config(ROUTE_ROW), after, asked(count=1000))
    assert found.moved == pytest.approx(250, abs=60)
    back = told(after, config(ROUTE_ROW), asked(count=1000))
    assert (back.moves[0].source, back.moved) == ("mistral/m-1", found.moved)


def test_a_key_that_stays_with_a_target_moves_as_a_whole_or_not() -> None:
    routes = [
        replace(ROUTE_ROW, affinity="key", targets=(replace(HERE, weight=weight), THERE)) for weight in (1, 9)
    ]
    keys = {b"%d" % n: replace(KEY_ROW, id=n, prefix=f"gw-{n}", digest=b"%d" % n) for n in range(200)}
    requests = [Alike(n, f"gw-{n}", "crew", "chat", Facts(model="m-1"), 3, Usage()) for n in range(200)]
    now, then = (replace(config(route), keys=keys) for route in routes)
    found = impact(now, then, requests, NOW)
    assert found.moved % 3 == 0
    assert 100 < found.moved < 400, "half were there, a tenth remain"
    assert {(m.source, m.to) for m in found.moves} == {("mistral/m-1", "openai/m-1")}


LOSSES = [
    (KEY, ROUTE_ROW, None),
    (KEY, ROUTE_ROW, replace(KEY_ROW, expires_at=NOW - timedelta(days=1))),
    (MODEL, ROUTE_ROW, replace(KEY_ROW, allowed_models=("other-*",))),
    (ROUTE, replace(ROUTE_ROW, pattern="x-*"), KEY_ROW),
    (ROUTE, replace(ROUTE_ROW, team_id=8), KEY_ROW),
    (TARGET, replace(ROUTE_ROW, targets=(replace(HERE, enabled=False),)), KEY_ROW),
    (TARGET, replace(ROUTE_ROW, targets=()), KEY_ROW),
]


@pytest.mark.parametrize(("why", "route", "key"), LOSSES)
def test_a_key_loses_a_model_and_back_it_gains_it(why: str, route: Route, key: ApiKey | None) -> None:
    now, then = config(ROUTE_ROW), config(route, key=key)
    lost = told(now, then)
    [change] = lost.lost
    assert (change.key, change.team, change.model, change.why) == ("gw-abc", "crew", "m-1", why)
    assert (lost.refused, lost.served, lost.moved) == (10, 0, 0)
    assert lost.no_target == (10 if why == TARGET else 0)
    gained = told(then, now)
    assert [each.why for each in gained.gained] == [why]
    assert (gained.refused, gained.served) == (0, 10)
    assert told(then, then).refused_already == 10


def test_a_provider_that_cannot_do_such_a_request() -> None:
    then = config(replace(ROUTE_ROW, targets=(Target(3, ANTHROPIC),)))
    found = told(config(ROUTE_ROW), then, asked(surface="embeddings"), asked(surface="chat"))
    assert [(each.why, each.requests) for each in found.lost] == [(SURFACE, 10)]
    assert found.moved == 10


def test_cost_is_by_the_catalogue_of_each() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    now = config(ROUTE_ROW, openai=Price(1.0, 2.0), mistral=Price(0.1, 0.2))
    there = replace(ROUTE_ROW, targets=(THERE,))
    moved = told(now, config(there, openai=Price(1.0, 2.0), mistral=Price(0.1, 0.2)), asked(usage=usage))
    assert (moved.cost_now, moved.cost_then, moved.unpriced) == (3_000_000_000, 300_000_000, 0)
    dearer = told(now, config(ROUTE_ROW, openai=Price(1.5, 2.0)), asked(usage=usage))
    assert (dearer.moved, dearer.cost_then - dearer.cost_now) == (0, 500_000_000)
    unknown = told(now, config(there), asked(usage=usage))
    assert (unknown.cost_now, unknown.cost_then, unknown.unpriced) == (0, 0, 10)
    refused = told(now, config(), asked(usage=usage))
    assert (refused.cost_now, refused.cost_then, refused.unpriced) == (0, 0, 0)


def test_cheapest_goes_by_price() -> None:
    route = replace(ROUTE_ROW, targets=(HERE, THERE), balance="cheapest")
    now = config(route, openai=Price(1.0, 2.0), mistral=Price(2.0, 4.0))
    found = told(now, config(route, openai=Price(3.0, 6.0), mistral=Price(2.0, 4.0)))
    assert [(m.source, m.to, m.requests) for m in found.moves] == [("openai/m-1", "mistral/m-1", 10)]


def test_of_equal_prices_the_weights_draw() -> None:
    same = Price(1.0, 2.0)
    route = replace(ROUTE_ROW, targets=(HERE, replace(THERE, weight=3)), balance="cheapest")
    found = told(config(ROUTE_ROW), config(route, openai=same, mistral=same), asked(count=1000))
    assert found.moved == pytest.approx(750, abs=60)


def test_routes_that_none_of_them_takes() -> None:
    exact = Route(2, "exact", "m-1", (THERE,))
    found = told(config(ROUTE_ROW), config(ROUTE_ROW, exact))
    assert [(each.name, each.before) for each in found.unmatched] == [("all", 10)]
    assert [each.name for each in told(config(exact), config(ROUTE_ROW, exact)).unmatched] == ["all"]
    assert told(config(ROUTE_ROW), config(ROUTE_ROW, exact), asked(), asked("m-2")).unmatched == []


PLACES: list[Place | str] = [*(Place(name, "openai", "m") for name in "abc"), ROUTE]


@st.composite
def shares(draw: st.DrawFn) -> Shares:
    parts = draw(st.lists(st.integers(0, 100), min_size=4, max_size=4).filter(any))
    return {place: part / sum(parts) for place, part in zip(PLACES, parts, strict=True) if part}


@given(shares(), shares())
def test_flows_lead_from_the_one_to_the_other_and_as_little_moves_as_can(was: Shares, will: Shares) -> None:
    out, into = defaultdict[Place | str, float](float), defaultdict[Place | str, float](float)
    moved = 0.0
    for source, to, share in flows(was, will):
        out[source] += share
        into[to] += share
        moved += share if source != to else 0
    for place in PLACES:
        assert out[place] == pytest.approx(was.get(place, 0), abs=1e-4)
        assert into[place] == pytest.approx(will.get(place, 0), abs=1e-4)
    assert moved == pytest.approx(sum(max(0, will.get(p, 0) - was.get(p, 0)) for p in PLACES), abs=1e-4)
