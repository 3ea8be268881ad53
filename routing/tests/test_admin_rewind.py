"""The way back in the admin: shown first, done by a click, and only for whoever may."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from accounts.models import Team
from providers.models import Credential
from routing.models import Route
from routing.revisions import latest, publish
from routing.tests.admin_pages import browser, page
from tests.support.rows import make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss() -> Any:
    return browser(User.objects.create_superuser("boss", password="x"))


@pytest.fixture
def edited() -> int:
    """A revision that changed a route and a team."""
    route = make_route("gpt-*", make_provider("openai"))
    publish("olga", "first")
    route.losses = "strict"
    route.save()
    Team.objects.create(name="others")
    return publish("olga", "second")


def test_a_page_shows_what_would_change_and_changes_nothing(boss: Any, edited: int) -> None:
    shown = boss.get(page("routing_revision_undo", edited))
    assert "losses: &#x27;strict&#x27; -&gt; &#x27;warn&#x27;" in shown.content.decode()
    assert Route.objects.get().losses == "strict"
    assert latest() == edited


def test_a_click_takes_it_back(boss: Any, edited: int) -> None:
    answer = boss.post(page("routing_revision_undo", edited), follow=True)
    assert "as revision 3" in answer.content.decode()
    assert Route.objects.get().losses == "warn"
    assert not Team.objects.exists()


def test_only_a_part(boss: Any, edited: int) -> None:
    route = Route.objects.get()
    boss.post(page("routing_revision_undo", edited), {"object": f"route:{route.pk}"})
    assert Route.objects.get().losses == "warn"
    assert Team.objects.exists()


def test_a_whole_state(boss: Any, edited: int) -> None:
    boss.post(page("routing_revision_restore", 1))
    assert Route.objects.get().losses == "warn"
    assert not Team.objects.exists()
    again = boss.post(page("routing_revision_restore", 1), follow=True)
    assert "Nothing was changed" in again.content.decode()


def test_what_cannot_be_done_is_said(boss: Any, edited: int) -> None:
    Route.objects.update(priority=4)
    publish("olga", "third")
    assert "was changed again" in boss.get(page("routing_revision_undo", edited)).content.decode()
    assert boss.post(page("routing_revision_restore", 99)).status_code == 200
    assert latest() == 3


def test_who_may_only_look_cannot_go_back(edited: int) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_revision"))
    client = browser(viewer)
    assert client.get(page("routing_revision_change", edited)).status_code == 200
    assert (
        "Take these changes back" not in client.get(page("routing_revision_change", edited)).content.decode()
    )
    for way in ("undo", "restore"):
        assert client.get(page(f"routing_revision_{way}", edited)).status_code == 403
        assert client.post(page(f"routing_revision_{way}", edited)).status_code == 403
    assert latest() == edited


def test_who_is_no_superuser_opens_no_private_network_and_enables_no_secret_of_another_address() -> None:
    provider = make_provider("vendor", base_url="http://10.0.0.9/v1", allow_private_addresses=True)
    publish("olga", "first")
    provider.base_url, provider.allow_private_addresses = "https://new.example/v1", False
    provider.save()
    publish("olga", "second")
    staff = make_staff("routing.view_revision", "routing.change_revision")
    client = browser(staff)
    client.post(page("routing_revision_undo", 2), {"object": f"provider:{provider.pk}"})
    provider.refresh_from_db()
    assert (provider.base_url, provider.allow_private_addresses) == ("http://10.0.0.9/v1", False)
    row = Credential.objects.get()
    assert not row.enabled
    client.post(page("routing_revision_undo", 3), {"object": f"credential:{row.pk}"})
    row.refresh_from_db()
    assert not row.enabled
    browser(User.objects.create_superuser("boss")).post(page("routing_revision_restore", 1))
    provider.refresh_from_db()
    assert provider.allow_private_addresses
