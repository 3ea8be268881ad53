"""What several tests of approval stand on."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.core.cache import cache

from console.tests.risky import furnish
from routing.risks import GROUPS


@pytest.fixture
def two_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment that wants two for everything in the table of risks."""
    cache.clear()
    monkeypatch.setattr(apps.get_app_config("routing"), "approval", frozenset(GROUPS))


@pytest.fixture
def world(db: None) -> None:
    """One row of each table."""
    furnish()


@pytest.fixture
def second(world: None) -> User:
    """Who may approve."""
    user = User.objects.create_user("second", is_staff=True)
    user.groups.add(Group.objects.get(name="owner"))
    return user
