"""What several tests of approval stand on, several of single sign-on, and several of drafts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.core.cache import cache

from console.oidc.identity_provider import IdentityProvider
from console.tests.risky import furnish
from console.tests.signing_on import Hands, signing_on
from console.tests.test_manage_access import bearer
from routing.revisions import publish
from routing.risks import GROUPS
from tests.support.fake_idp import FakeIdp, a_fake_idp
from tests.support.rows import make_provider, make_route


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


@pytest.fixture
def idp() -> Iterator[FakeIdp]:
    with a_fake_idp() as fake:
        yield fake


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def on(idp: FakeIdp, clock: Hands) -> Iterator[IdentityProvider]:
    with signing_on(idp, clock) as provider:
        yield provider


@pytest.fixture
def root(db: None) -> dict[str, Any]:
    """Headers of who may do everything, where one route is published."""
    cache.clear()
    make_route("gpt-*", make_provider("openai"))
    publish("olga", "first")
    return bearer(User.objects.create_superuser("root"))
