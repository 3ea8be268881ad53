"""Limits, budgets and priorities in the admin: entered, refused, published, switched off."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from accounts.models import ApiKey, Budget, Limit, Team
from routing.models import Revision
from routing.tests.admin_pages import browser, form_of, page
from tests.support.rows import make_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def boss() -> Any:
    return browser(User.objects.create_superuser("boss", password="x"))


def filled(client: Any, name: str, **values: Any) -> Any:
    """The page's form, sent with these values."""
    url = page(name)
    return client.post(url, form_of(client, url) | values)


def test_a_teams_limit_is_entered_and_published(boss: Any) -> None:
    team = make_key("crew").row.team
    answer = filled(boss, "accounts_limit_add", team=team.pk, kind="requests", amount=100, per="minute")
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    limit = Limit.objects.get()
    assert (limit.team, limit.key, str(limit)) == (team, None, "100 requests per minute")
    assert Revision.objects.latest("number").summary[0]["object"].startswith("limit")


def test_a_keys_budget_is_entered_and_switched_off(boss: Any) -> None:
    key = make_key("crew").row
    assert filled(boss, "accounts_budget_add", key=key.pk, amount="12.5", unit="usd").status_code == 302
    budget = Budget.objects.get()
    assert (budget.key, budget.hard, budget.enabled) == (key, True, True)
    action = {"action": "disable", "_selected_action": [budget.pk]}
    boss.post(page("accounts_budget_changelist"), action)
    assert not Budget.objects.get().enabled
    assert Revision.objects.count() >= 2


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"kind": "requests", "amount": 0}, "greater than or equal to 1"),
        ({"kind": "requests", "amount": 5, "per": ""}, "counted per minute"),
        ({"kind": "requests", "amount": 5, "provider": "nobody"}, "No provider has this name"),
        ({"kind": "requests", "amount": 5, "wait_seconds": 3}, "Calls wait only where"),
        ({"kind": "tokens", "amount": 5, "both": True}, "Either a team or a key"),
    ],
)
def test_what_makes_no_sense_is_said_at_the_field(boss: Any, values: dict[str, Any], words: str) -> None:
    key = make_key("crew").row
    owner = {"team": key.team_id} | ({"key": key.pk} if values.pop("both", False) else {})
    answer = filled(boss, "accounts_limit_add", **({"per": "minute"} | owner | values))
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert not Limit.objects.exists()


def test_the_same_limit_twice_is_refused(boss: Any) -> None:
    for expected in (302, 200):
        assert (
            filled(boss, "accounts_limit_add", kind="requests", amount=7, per="day").status_code == expected
        )
    assert Limit.objects.count() == 1


def test_a_link_says_whose_it_is_to_be(boss: Any) -> None:
    team = make_key("crew").row.team
    data = form_of(boss, page("accounts_limit_add") + f"?team={team.pk}&amount=1")
    assert str(data["team"]) == str(team.pk)
    assert "amount" not in data


def test_priorities_of_teams_and_keys(boss: Any) -> None:
    key = make_key("crew").row
    for name, row in (("accounts_team_change", key.team), ("accounts_apikey_change", key)):
        url = page(name, row.pk)
        assert boss.post(url, form_of(boss, url) | {"priority": "low"}).status_code == 302
    assert (Team.objects.get().priority, ApiKey.objects.get().priority) == ("low", "low")


def test_lists_show_whose_they_are_and_go_out_as_csv(boss: Any) -> None:
    key = make_key("=crew").row
    Limit.objects.create(team=key.team, kind="requests", amount=5)
    Budget.objects.create(amount=9)
    assert "team =crew" in boss.get(page("accounts_limit_changelist")).content.decode()
    assert "everybody" in boss.get(page("accounts_budget_changelist") + "?whose=everybody").content.decode()
    action = {"action": "export_csv", "_selected_action": [Limit.objects.get().pk]}
    assert b"team =crew" in boss.post(page("accounts_limit_changelist"), action).content


def test_who_may_not_see_them_does_not() -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_team"))
    client = browser(viewer)
    for name in ("accounts_limit_changelist", "accounts_budget_add"):
        assert client.get(page(name)).status_code == 403
    assert "Budgets" not in client.get(page("index")).content.decode()
