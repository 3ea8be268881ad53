"""Losses in the admin: by route, model, field and day, to read only, whatever clients call their fields."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from routing.models import TranslationLoss
from routing.tests.admin_pages import browser, page
from tests.support.rows import make_staff

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
LIST = page("routing_translationloss_changelist")


@pytest.fixture
def reader() -> Client:
    return browser(make_staff("routing.view_translationloss"))


def lose(count: int = 1, days: int = 0, **fields: Any) -> TranslationLoss:
    values = {
        "route": "gpt-*",
        "provider": "anthropic",
        "surface": "chat",
        "model": "claude",
        "field": "seed",
    }
    day = (NOW - timedelta(days=days)).date()
    return TranslationLoss.objects.create(**{**values, **fields}, day=day, count=count, last_seen=NOW)


def shown(client: Client, query: str = "") -> tuple[set[int], list[tuple[str, str, str, bool, int]]]:
    """The rows of the list and the sums above it."""
    context = client.get(LIST + query).context
    sums = [(s["route"], s["model"], s["field"], s["refused"], s["total"]) for s in context["sums"]]
    return {row.pk for row in context["cl"].result_list}, sums


def test_losses_are_summed_by_route_model_and_field(reader: Client) -> None:
    first, second = lose(3), lose(4, days=1)
    other = lose(2, route="*", field="top_k", refused=True)
    found, sums = shown(reader)
    assert found == {first.pk, second.pk, other.pk}
    assert sums == [("gpt-*", "claude", "seed", False, 7), ("*", "claude", "top_k", True, 2)]
    text = reader.get(LIST).content.decode()
    assert "Lost most often" in text
    assert "refused" in text


@pytest.mark.parametrize(
    "query",
    [
        "?route=gpt-*", "?model=gpt-4o", "?field=seed", "?provider=openai", "?surface=messages",
        "?refused__exact=1", "?q=gpt-4o",
    ],
)  # fmt: skip
def test_each_can_be_filtered_by(reader: Client, query: str) -> None:
    lose(route="*", field="top_k")
    one = lose(
        9, route="gpt-*", model="gpt-4o", field="seed", provider="openai", surface="messages", refused=True
    )
    found, sums = shown(reader, query)
    assert found == {one.pk}
    assert [total for *_, total in sums] == [9]


def test_days_can_be_filtered_by(reader: Client) -> None:
    today = lose()
    lose(days=20)
    since = (NOW - timedelta(days=7)).date()
    assert shown(reader, f"?day__gte={since}")[0] == {today.pk}


def test_what_a_client_made_up_is_only_text(reader: Client) -> None:
    lose(model="<script>alert(1)</script>", field="<b>x")
    text = reader.get(LIST).content.decode()
    assert "<script>alert" not in text
    assert "<b>x" not in text
    assert "&lt;script&gt;alert" in text


def test_nobody_changes_them() -> None:
    row = lose()
    owner = browser(User.objects.create_superuser("owner"))
    assert owner.get(page("routing_translationloss_add")).status_code == 403
    change = page("routing_translationloss_change", row.pk)
    assert owner.post(change, {"count": 99}).status_code == 403
    assert owner.post(page("routing_translationloss_delete", row.pk), {"post": "yes"}).status_code == 403
    owner.post(LIST, {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
    assert TranslationLoss.objects.get().count == 1


def test_who_may_not_see_them_does_not(reader: Client) -> None:
    stranger = browser(make_staff("routing.view_route", name="stranger"))
    assert stranger.get(LIST).status_code == 403
    link = f'href="{LIST}"'
    assert link in reader.get(page("index")).content.decode()
    assert link not in stranger.get(page("index")).content.decode()


def test_they_can_be_taken_away_as_csv(reader: Client) -> None:
    row = lose(5, model="=cmd()")
    response = reader.post(LIST, {"action": "export_csv", "_selected_action": [row.pk]})
    assert "gpt-*,'=cmd(),seed,chat,anthropic,False,5," in response.content.decode()
