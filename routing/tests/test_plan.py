"""Where a call goes: judged by a slow and obvious oracle, and by counting for the weights."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from dialects.types import Facts, ModelFacts
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.plan import FINE, Chance, Condition, allowed, match, plan
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

PROVIDER = Provider(
    id=1,
    name="openai",
    kind=KINDS["openai"],
    base_url="https://api.example/v1",
    timeouts=Timeouts(),
    credentials=(Credential(id=1, label="", last4="", secret="s"),),
)


def route(number: int, pattern: str, priority: int = 0, team: int | None = None, *targets: Target) -> Route:
    return Route(
        id=number, name=str(number), pattern=pattern, targets=targets, priority=priority, team_id=team
    )


def facts(model: str) -> Facts:
    return Facts(model=model, stream=False)


def oracle(routes: Sequence[Route], model: str, team: int | None) -> Route | None:
    """The rules as the README says them, one after the other, over all routes."""
    fits = [
        r
        for r in routes
        if (model.startswith(r.stem) if r.is_prefix else model == r.pattern) and r.team_id in (None, team)
    ]
    exact = [r for r in fits if not r.is_prefix]
    pool = exact or fits
    longest = max((len(r.stem) for r in pool), default=0)
    pool = [r for r in pool if len(r.stem) == longest]
    pool = [r for r in pool if r.team_id is not None] or pool
    highest = max((r.priority for r in pool), default=0)
    pool = [r for r in pool if r.priority == highest]
    return min(pool, key=lambda r: r.id, default=None)


letters = st.text("ab-", max_size=4)
patterns = st.one_of(letters.filter(bool), letters.map(lambda stem: stem + "*"))
some_routes = st.lists(
    st.tuples(patterns, st.integers(-2, 2), st.sampled_from([None, 1, 2])), max_size=12
).map(lambda rows: [route(number, *row) for number, row in enumerate(rows)])


@given(some_routes, letters, st.sampled_from([None, 1, 2, 3]))
def test_the_match_is_the_one_that_the_rules_name(routes: list[Route], model: str, team: int | None) -> None:
    assert match(Snapshot(1, tuple(routes)), model, team) == oracle(routes, model, team)


@pytest.mark.parametrize(
    ("model", "team", "expected"),
    [
        ("gpt-4o", None, 2),  # exact before prefix
        ("gpt-4o-mini", None, 3),  # the longest prefix
        ("gpt-5", None, 1),
        ("gpt-5", 7, 4),  # a team's own before the common one of the same length
        ("gpt-4o-mini", 7, 3),  # but a longer common one before it
        ("llama", None, 6),  # the star alone takes what is left, the higher priority first
        ("llama", 7, 6),
    ],
)
def test_examples(model: str, team: int | None, expected: int) -> None:
    routes = (
        route(1, "gpt-*"),
        route(2, "gpt-4o"),
        route(3, "gpt-4o-*"),
        route(4, "gpt-*", 0, 7),
        route(5, "*"),
        route(6, "*", 9),
    )
    found = match(Snapshot(1, routes), model, team)
    assert found is not None
    assert found.id == expected


def test_another_teams_route_is_never_seen() -> None:
    assert match(Snapshot(1, (route(1, "gpt-*", 0, 7),)), "gpt-4o", 8) is None
    assert match(Snapshot(1, (route(1, "gpt-*", 0, 7),)), "gpt-4o", None) is None


def test_no_route_is_said_so() -> None:
    found = plan(Snapshot(1), facts("gpt-4o"), None, Chance(random.random))
    assert (found.route, found.candidates, found.left_out) == (None, (), ())


def test_within_a_tier_the_shares_are_the_weights() -> None:
    targets = [Target(id=weight, provider=PROVIDER, weight=weight) for weight in (1, 2, 7)]
    snapshot = Snapshot(1, (route(1, "*", 0, None, *targets),))
    draw = random.Random(1).random
    rounds = 20_000
    plans = [plan(snapshot, facts("x"), None, Chance(draw)).candidates for _ in range(rounds)]
    first = Counter(candidates[0].id for candidates in plans)
    for weight in (1, 2, 7):
        # Five standard deviations of a share of 0.7 over these rounds are 0.016.
        assert first[weight] / rounds == pytest.approx(weight / 10, abs=0.017)
    # Where the heaviest is first, the second place goes by the weights of the others.
    second = Counter(candidates[1].id for candidates in plans if candidates[0].id == 7)
    assert second[2] / sum(second.values()) == pytest.approx(2 / 3, abs=0.02)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=8),
    st.randoms(use_true_random=False),
)
def test_a_plan_keeps_every_target_once_and_tiers_in_order(
    rows: list[tuple[int, int, bool]], chance: random.Random
) -> None:
    targets = [
        Target(id=number, provider=PROVIDER, tier=tier, weight=weight, enabled=enabled)
        for number, (tier, weight, enabled) in enumerate(rows)
    ]
    found = plan(Snapshot(1, (route(1, "*", 0, None, *targets),)), facts("x"), None, Chance(chance.random))
    tiers = [target.tier for target in found.candidates]
    assert tiers == sorted(tiers)
    assert all(target.enabled and target.weight for target in found.candidates)
    assert all(left.reason for left in found.left_out)
    placed = [t.id for t in found.candidates] + [left.target.id for left in found.left_out]
    assert sorted(placed) == list(range(len(targets)))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (Target(1, PROVIDER, enabled=False), "the target is disabled"),
        (Target(1, replace(PROVIDER, enabled=False)), "the provider openai is disabled"),
        (Target(1, PROVIDER, weight=0), "its weight is 0"),
        (Target(1, replace(PROVIDER, credentials=())), "the provider openai has no usable credential"),
    ],
)
def test_each_target_left_out_says_why(target: Target, reason: str) -> None:
    found = plan(Snapshot(1, (route(1, "*", 0, None, target),)), facts("x"), None, Chance(random.random))
    assert [(left.target, left.reason) for left in found.left_out] == [(target, reason)]
    assert found.candidates == ()


def test_a_provider_that_needs_no_credential_needs_none() -> None:
    ollama = replace(PROVIDER, kind=KINDS["ollama"], credentials=())
    snapshot = Snapshot(1, (route(1, "*", 0, None, Target(1, ollama)),))
    found = plan(snapshot, facts("x"), None, Chance(random.random))
    assert len(found.candidates) == 1


@pytest.mark.parametrize(
    ("entries", "model", "may"),
    [
        ((), "anything", True),
        (("gpt-4o",), "gpt-4o", True),
        (("gpt-4o",), "gpt-4o-mini", False),
        (("gpt-*", "o1"), "gpt-4o-mini", True),
        (("gpt-*",), "xgpt-", False),
        (("*",), "anything", True),
    ],
)
def test_what_a_key_may_use(entries: tuple[str, ...], model: str, may: bool) -> None:
    key = ApiKey(id=1, prefix="gw-x", digest=b"", team=Team(1, "t"), allowed_models=entries)
    assert allowed(key, model) is may


# -- how a tier is ordered


class Now:
    """How targets are now, by their ids."""

    def __init__(self, **conditions: Condition) -> None:
        self._conditions = conditions

    def condition(self, target: Target) -> Condition:
        return self._conditions.get(f"t{target.id}", FINE)


def three(balance: str, **changes: object) -> Snapshot:
    targets = [Target(id=number, provider=PROVIDER, upstream_model=f"m{number}") for number in (1, 2, 3)]
    made = replace(route(1, "*", 0, None, *targets), balance=balance, **changes)  # type: ignore[arg-type]  # words of Balance
    return Snapshot(1, (made,))


def first_of(snapshot: Snapshot, now: Now, rounds: int = 3000, **known: object) -> Counter[int]:
    """How often each target comes first."""
    draw = random.Random(7).random
    asked = structs.replace(facts("x"), **known)
    return Counter(plan(snapshot, asked, None, Chance(draw, now)).candidates[0].id for _ in range(rounds))


def test_least_in_flight_for_its_weight() -> None:
    now = Now(t1=Condition(in_flight=5), t2=Condition(in_flight=2), t3=Condition(in_flight=9))
    assert first_of(three("least_in_flight"), now) == {2: 3000}
    equal = first_of(three("least_in_flight"), Now())
    assert all(800 < equal[number] < 1200 for number in (1, 2, 3)), "equals share"


def test_of_two_drawn_the_quicker_is_asked() -> None:
    now = Now(t1=Condition(latency=0.1), t2=Condition(latency=0.5), t3=Condition(latency=2.0))
    first = first_of(three("latency"), now)
    # The quickest wins unless it was not drawn, the slowest only against nobody.
    assert first[1] == pytest.approx(2000, abs=150)
    assert first[2] == pytest.approx(1000, abs=150)
    assert first[3] == 0


def test_a_quick_target_with_a_line_before_it_is_not_quick() -> None:
    now = Now(t1=Condition(latency=0.1, in_flight=50), t2=Condition(latency=0.5), t3=Condition(latency=0.5))
    assert first_of(three("latency"), now)[1] == 0


def test_cheapest_by_what_this_request_costs() -> None:
    def price(name: str, read: float | None, written: float | None) -> CatalogueModel:
        return CatalogueModel("openai", ModelFacts(name=name), Price(read, written))

    rows = {("openai", name): price(name, *prices) for name, *prices in PRICES}
    snapshot = replace(three("cheapest"), catalogue=rows)
    assert first_of(snapshot, Now(), prompt_chars=400_000, max_tokens=10) == {1: 3000}
    assert first_of(snapshot, Now(), prompt_chars=400, max_tokens=10_000) == {2: 3000}
    ordered = plan(snapshot, facts("x"), None, Chance(random.random)).candidates
    assert ordered[-1].id == 3, "an unknown price is not free"


PRICES: list[tuple[str, float | None, float | None]] = [
    ("m1", 1.0, 9.0),
    ("m2", 3.0, 3.0),
    ("m3", None, None),
]


def test_ordered_as_they_stand() -> None:
    assert first_of(three("ordered"), Now()) == {1: 3000}


def test_a_recovered_target_takes_a_tenth_at_first() -> None:
    first = first_of(three("weighted"), Now(t1=Condition(ramp=0.1)))
    assert first[1] == pytest.approx(3000 * 0.1 / 2.1, abs=60)


def test_what_is_out_is_left_out_and_says_why_and_until_when() -> None:
    now = Now(
        t1=Condition(out="it is ill", ready_in=9.0), t2=Condition(out="its breaker is open", ready_in=4.0)
    )
    found = plan(three("ordered"), facts("x"), None, Chance(random.random, now))
    assert [target.id for target in found.candidates] == [3]
    assert [left.reason for left in found.left_out] == ["it is ill", "its breaker is open"]
    assert (found.ready_in, found.panic) == (4.0, False)


def test_when_all_are_out_those_with_open_breakers_are_the_last_resort() -> None:
    def open_for(seconds: float) -> Condition:
        return Condition(out="open", ready_in=seconds, last_resort=True)

    now = Now(t1=open_for(9), t2=open_for(4), t3=Condition(out="held open"))
    found = plan(three("ordered"), facts("x"), None, Chance(random.random, now))
    assert [target.id for target in found.candidates] == [2, 1]
    assert found.panic


def test_full_targets_are_kept_apart() -> None:
    found = plan(three("ordered"), facts("x"), None, Chance(random.random, Now(t2=Condition(full=True))))
    assert [target.id for target in found.candidates] == [1, 3]
    assert [target.id for target in found.full] == [2]


def test_a_canary_sees_its_share_of_the_keys_and_always_the_same_ones() -> None:
    targets = (Target(1, PROVIDER, "stable", weight=9), Target(2, PROVIDER, "canary", weight=1))
    snapshot = Snapshot(1, (replace(route(1, "*", 0, None, *targets), affinity="key"),))

    def where(key: str) -> int:
        chance = Chance(random.random, word=lambda affinity: key if affinity == "key" else "")
        return plan(snapshot, facts("x"), None, chance).candidates[0].id

    homes = {f"key {number}": where(f"key {number}") for number in range(4000)}
    assert Counter(homes.values())[2] == pytest.approx(400, abs=80)
    assert all(where(key) == home for key, home in homes.items())


def test_more_weight_moves_keys_only_to_the_canary() -> None:
    def home(key: str, weight: int) -> int:
        targets = (Target(1, PROVIDER, "stable", weight=9), Target(2, PROVIDER, "canary", weight=weight))
        snapshot = Snapshot(1, (replace(route(1, "*", 0, None, *targets), affinity="key"),))
        chance = Chance(random.random, word=lambda _: key)
        return plan(snapshot, facts("x"), None, chance).candidates[0].id

    before = [home(f"key {number}", 1) for number in range(2000)]
    after = [home(f"key {number}", 3) for number in range(2000)]
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert moved
    assert set(moved) == {(1, 2)}
