"""Teams and keys: what the forms refuse and what the database refuses behind them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import ProtectedError
from django.utils import timezone

from accounts.models import ApiKey, Team
from tests.support.rows import make_key

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", ["", " crew", "crew ", "a\nb", "x" * 101])
def test_a_team_has_a_proper_name(name: str) -> None:
    with pytest.raises(ValidationError):
        Team(name=name).full_clean()


@pytest.mark.parametrize(
    "rows",
    [
        [Team(name="")],
        [Team(name="a"), Team(name="a")],
    ],
    ids=["empty", "twice"],
)
def test_the_database_refuses_bad_teams(rows: list[Team]) -> None:
    with pytest.raises(IntegrityError):
        Team.objects.bulk_create(rows)


@pytest.mark.parametrize(
    "entries",
    ["gpt-4o", {"a": 1}, [""], [1], ["a b"], ["*-gpt"], ["g*t"], ["**"], ["x" * 201], [None]],
)
def test_allowed_models_are_names_or_prefixes(entries: object) -> None:
    key = make_key().row
    key.allowed_models = entries
    with pytest.raises(ValidationError) as caught:
        key.full_clean()
    assert set(caught.value.message_dict) == {"allowed_models"}


@pytest.mark.parametrize("entries", [[], ["gpt-4o"], ["gpt-*", "*"], ["accounts/x/models/y:1"]])
def test_good_entries_are_taken(entries: list[str]) -> None:
    key = make_key(allowed_models=entries).row
    key.full_clean()
    key.refresh_from_db()
    assert key.allowed_models == entries


@pytest.mark.parametrize("empty", [{}, "", None])
def test_no_entries_are_an_empty_list(empty: object) -> None:
    key = make_key().row
    key.allowed_models = empty
    key.clean()
    assert key.allowed_models == []


@pytest.mark.parametrize("digest", ["", "same"])
def test_the_database_refuses_a_digest_that_is_empty_or_there_already(digest: str) -> None:
    key = make_key().row
    with pytest.raises(IntegrityError):
        ApiKey.objects.bulk_create([ApiKey(team=key.team, prefix="x", digest=digest and key.digest)])


def test_two_keys_may_show_the_same_prefix() -> None:
    one, two = make_key().row, make_key().row
    two.prefix = one.prefix
    two.save()
    assert ApiKey.objects.filter(prefix=one.prefix).count() == 2


def test_a_team_with_keys_cannot_be_deleted() -> None:
    key = make_key().row
    with pytest.raises(ProtectedError):
        key.team.delete()


def test_the_states_of_a_key() -> None:
    now = timezone.now()
    states = {
        "active": make_key().row,
        "active until then": make_key(expires_at=now + timedelta(hours=1)).row,
        "expired": make_key(expires_at=now).row,
        "revoked": make_key(revoked_at=now, expires_at=now).row,
    }
    assert [row.state for row in states.values()] == ["active", "active", "expired", "revoked"]
    usable = set(ApiKey.objects.usable())
    assert usable == {states["active"], states["active until then"]}


def test_a_key_is_called_by_its_prefix_and_label() -> None:
    key = make_key(label="ci")
    assert str(key.row) == f"{key[:11]}… (ci)"
    assert key not in str(key.row)
