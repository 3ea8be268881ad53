"""Routes, targets and revisions: what forms refuse, and what the database refuses behind them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models
from django.db.models import ProtectedError

from accounts.models import Team
from routing.models import MAX_PATCH, MAX_TIER, MAX_WEIGHT, Revision, Route, Target, check_targets
from tests.support.rows import make_provider, make_route

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "pattern", ["gpt-4o", "gpt-*", "*", "accounts/x/models/y:1", "ft:gpt-4o:org::id", "模型*"]
)
def test_a_pattern_is_a_name_or_a_prefix(pattern: str) -> None:
    Route(name="x", pattern=pattern).full_clean()


@pytest.mark.parametrize("pattern", ["", " ", "a b", "a\n", "*a", "a*b", "**", "a**", "x" * 201])
def test_a_form_refuses_a_bad_pattern(pattern: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Route(name="x", pattern=pattern).full_clean()
    assert "pattern" in caught.value.message_dict


def test_the_same_place_is_taken_once_in_common_and_once_per_team() -> None:
    crew, other = Team.objects.create(name="crew"), Team.objects.create(name="other")
    for number, (team, priority) in enumerate([(None, 0), (None, 1), (crew, 0), (crew, 1), (other, 0)]):
        route = Route(name=str(number), pattern="gpt-*", team=team, priority=priority)
        route.full_clean()
        route.save()
    for team in (None, crew):
        with pytest.raises(ValidationError):
            Route(name="again", pattern="gpt-*", team=team).full_clean()


@pytest.mark.parametrize("of_a_team", [False, True])
def test_the_database_refuses_the_same_place_too(of_a_team: bool) -> None:
    """NULL differs from NULL, so the common ones need a rule of their own."""
    team = Team.objects.create(name="crew") if of_a_team else None
    with pytest.raises(IntegrityError):
        Route.objects.bulk_create([Route(name=name, pattern="gpt-*", team=team) for name in ("a", "b")])


@pytest.mark.parametrize(
    "rows",
    [
        [Route(name="", pattern="x")],
        [Route(name="x", pattern="")],
        [Route(name="x", pattern="y", losses="loud")],
        [Route(name="x", pattern="a"), Route(name="x", pattern="b")],
        [Revision(number=-1, author="a", reason="b")],
        [Revision(number=1, author="a", reason="b"), Revision(number=1, author="a", reason="b")],
    ],
    ids=["no name", "no pattern", "unknown losses", "name twice", "number below 0", "number twice"],
)
def test_the_database_refuses_what_no_form_has_seen(rows: list[models.Model]) -> None:
    with pytest.raises(IntegrityError):
        type(rows[0])._default_manager.bulk_create(rows)


@pytest.mark.parametrize("fields", [{"weight": -1}, {"tier": -1}])
def test_the_database_refuses_a_bad_target(fields: dict[str, Any]) -> None:
    provider = make_provider()
    route = make_route("gpt-*", provider)
    with pytest.raises(IntegrityError):
        Target.objects.bulk_create([Target(route=route, provider=provider, **fields)])


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"weight": MAX_WEIGHT + 1}, "weight"),
        ({"tier": MAX_TIER + 1}, "tier"),
        ({"weight": -1}, "weight"),
        ({"upstream_model": "gpt-*"}, "upstream_model"),
        ({"upstream_model": "a b"}, "upstream_model"),
        ({"body_patch": [1]}, "body_patch"),
        ({"body_patch": "x"}, "body_patch"),
        ({"body_patch": {"stream": True}}, "body_patch"),
        ({"body_patch": {"messages": []}}, "body_patch"),
        ({"body_patch": {"x": float("nan")}}, "body_patch"),
        ({"body_patch": {"x": "\ud800"}}, "body_patch"),
        ({"body_patch": {"x": ["\0"]}}, "body_patch"),
        ({"body_patch": {"x": "y" * MAX_PATCH}}, "body_patch"),
    ],
)
def test_a_form_refuses_a_bad_target(fields: dict[str, Any], where: str) -> None:
    provider = make_provider()
    with pytest.raises(ValidationError) as caught:
        Target(route=make_route("gpt-*", provider), provider=provider, **fields).full_clean()
    assert where in caught.value.message_dict


@pytest.mark.parametrize("patch", [{}, {"temperature": 0}, {"top_k": None, "extra": {"deep": [1, "ü"]}}])
def test_a_patch_of_other_fields_is_taken(patch: dict[str, Any]) -> None:
    provider = make_provider()
    target = Target(route=make_route("gpt-*", provider), provider=provider, body_patch=patch)
    target.full_clean()
    target.save()
    target.refresh_from_db()
    assert target.body_patch == patch


@pytest.mark.parametrize("empty", [{}, [], "", None])
def test_an_empty_patch_is_an_empty_object(empty: Any) -> None:
    provider = make_provider()
    target = Target(route=make_route("gpt-*", provider), provider=provider, body_patch=empty)
    target.clean()
    assert target.body_patch == {}


@pytest.mark.parametrize(
    ("targets", "fine"),
    [
        ([], False),
        ([(1, True, [])], True),
        ([(0, True, []), (5, False, [])], False),
        ([(0, True, []), (5, True, [])], True),
        ([(1, True, ["outage"])], False),
    ],
)
def test_a_route_needs_a_target_that_can_take_a_call(
    targets: list[tuple[int, bool, list[str]]], fine: bool
) -> None:
    if fine:
        check_targets(targets)
        return
    with pytest.raises(ValidationError):
        check_targets(targets)


def test_a_team_with_routes_stays_and_a_route_takes_its_targets_along() -> None:
    team = Team.objects.create(name="crew")
    route = make_route("gpt-*", make_provider(), team=team)
    with pytest.raises(ProtectedError):
        team.delete()
    route.delete()
    assert not Target.objects.exists()
    team.delete()


@pytest.mark.postgres
@pytest.mark.usefixtures("postgres")
def test_postgresql_has_the_same_rules() -> None:
    provider = make_provider()
    route = make_route("gpt-*", provider)
    with pytest.raises(IntegrityError):
        Route.objects.bulk_create([Route(name="b", pattern="gpt-*")])
    with pytest.raises(IntegrityError):
        Target.objects.bulk_create([Target(route=route, provider=provider, weight=-1)])
