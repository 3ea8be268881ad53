"""Where a call goes: judged by a slow and obvious oracle, and by counting for the weights."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.types import Facts
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.plan import Chance, allowed, match, plan
from routing.snapshot import ApiKey, Credential, Provider, Route, Snapshot, Target, Team

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
