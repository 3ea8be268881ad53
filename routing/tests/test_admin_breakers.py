"""Breakers in the admin: how they are now, how they are set, and the operators' word over them."""

from __future__ import annotations

from functools import partial

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.test import Client

from gateway_project.wiring import _breakers_of
from pipeline.live import LiveState
from pipeline.slots import Slots
from providers.kinds import KINDS
from providers.models import Provider as Row
from providers.wire import Timeouts
from routing.measures import standing
from routing.snapshot import Provider, Target
from routing.tests.admin_pages import act, browser, form_of, page, published
from tests.support.rows import make_provider, make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Client:
    return browser(User.objects.create_superuser("owner"))


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> LiveState:
    made = LiveState(Slots())
    monkeypatch.setattr(apps.get_app_config("providers"), "breakers", partial(_breakers_of, made))
    return made


def fail(live: LiveState, times: int, model: str = "gpt-4o") -> None:
    openai = Provider(1, "openai", KINDS["openai"], "http://x", Timeouts())
    for _ in range(times):
        ticket = live.start(Target(1, openai, model))
        assert ticket is not None
        ticket.done("failed")


def shown(owner: Client, row: Row) -> str:
    return str(owner.get(page("providers_provider_change", row.pk)).content.decode())


def test_how_they_are_now(owner: Client, live: LiveState) -> None:
    row = make_provider("openai")
    assert "no calls yet" in shown(owner, row)
    fail(live, 5)
    fail(live, 1, "gpt-4o-mini")
    seen = shown(owner, row)
    assert "gpt-4o: open for 15 s" in seen
    assert "gpt-4o-mini: closed" in seen
    # And another provider's are no concern of this page.
    assert "no calls yet" in shown(owner, make_provider("anthropic"))


def test_the_page_of_a_new_one_has_none(owner: Client, live: LiveState) -> None:
    assert "no calls yet" in str(owner.get(page("providers_provider_add")).content.decode())


@pytest.mark.parametrize("mode", ["open", "closed", "auto"])
def test_they_are_overridden_and_adjusted(owner: Client, mode: str) -> None:
    row = make_provider("openai")
    url = page("providers_provider_change", row.pk)
    form = {**form_of(owner, url), "breaker_mode": mode, "breaker_consecutive": "9", "breaker_open": "30"}
    assert owner.post(url, form).status_code == 302
    row.refresh_from_db()
    assert (row.breaker_mode, row.breaker_consecutive, row.breaker_open) == (mode, 9, 30.0)


def health(client: Client) -> dict[str, str]:
    """What the list says of each provider."""
    listed = client.get(page("providers_provider_changelist")).context["cl"]
    return {row.name: listed.model_admin.state(row) for row in listed.result_list}


def test_the_list_tells_who_is_not_well(owner: Client, live: LiveState) -> None:
    make_provider("openai")
    make_provider("anthropic")
    assert health(owner) == {"anthropic": "ready", "openai": "ready"}
    fail(live, 1, "gpt-4o-mini")
    assert health(owner)["openai"] == "ready"
    fail(live, 5)
    assert health(owner)["openai"] == "failing"
    Row.objects.filter(name="anthropic").update(breaker_mode="open")
    assert health(owner)["anthropic"] == "failing"
    # What is not to be asked does not fail.
    Row.objects.update(enabled=False)
    assert health(owner) == {"anthropic": "disabled", "openai": "disabled"}


def test_several_are_drained_at_once_and_undrained(owner: Client) -> None:
    first, second, third = (make_provider(name) for name in ("openai", "anthropic", "ollama"))
    listed = "providers_provider_changelist"
    act(owner, listed, "drain", first.pk, second.pk)
    assert health(owner) == {"anthropic": "drained", "ollama": "ready", "openai": "drained"}
    assert {row.provider for row in standing()} == {first, second}
    act(owner, listed, "end_drain", second.pk, third.pk)
    assert [row.provider for row in standing()] == [first]
    assert [each.reason for each in published()] == [
        "drain of anthropic begun",
        "drain of openai begun",
        "drain of anthropic ended",
    ]

    # A drain is for now: no draft holds one back until it is published.
    owner.post(page("routing_draft_add"), {"name": "spring"})
    said = act(owner, listed, "drain", third.pk).content.decode()
    assert "A drain is no part of a draft" in said
    assert [row.provider for row in standing()] == [first]


def test_who_takes_no_measures_is_offered_none(owner: Client) -> None:
    row = make_provider("openai")
    editor = browser(make_staff("providers.view_provider", "providers.change_provider"))
    assert "Drain for" not in editor.get(page("providers_provider_changelist")).content.decode()
    act(editor, "providers_provider_changelist", "drain", row.pk)
    assert not standing().exists()
