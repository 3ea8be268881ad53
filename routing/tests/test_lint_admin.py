"""Findings by command and in the admin, and told to whoever has just saved what they are about."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from accounts.models import Budget
from routing.apps import own_addresses
from routing.tests.admin_pages import browser, form_of, page
from tests.support.rows import make_key, make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("lint", *words, stdout=out)
    return out.getvalue()


@pytest.fixture
def ops() -> Client:
    return browser(User.objects.create_superuser("ops"))


def test_a_good_configuration_is_told_so(ops: Client) -> None:
    make_route("m-*", make_provider("openai"))
    make_key()
    assert run() == "Nothing was found.\n"
    assert json.loads(run("--json", "--fail-on", "info")) == []
    assert "Nothing was found" in ops.get(reverse("lint")).content.decode()


def test_an_error_is_an_exit_status() -> None:
    route = make_route("m-*", make_provider("openai", secret=None))
    out = io.StringIO()
    with pytest.raises(CommandError) as failed:
        call_command("lint", "--json", stdout=out)
    assert failed.value.returncode == 1
    found = json.loads(out.getvalue())
    assert [(each["check"], each["severity"]) for each in found] == [
        ("nobody-answers", "error"),
        ("no-credential", "warning"),
    ]
    assert found[0]["where"] == {"table": "route", "id": route.pk, "name": "m-*"}


def test_a_warning_is_one_where_it_is_asked_for() -> None:
    make_route("m-*", make_provider("openai"), late_fallback=True)
    assert "warning: route m-*: Only openai/m-* can answer" in run()
    with pytest.raises(CommandError):
        run("--fail-on", "warning")


def test_the_page_leads_to_the_row(ops: Client) -> None:
    route = make_route("m-*", make_provider("openai", secret=None))
    shown = ops.get(reverse("lint")).content.decode()
    assert "Every request is a 503" in shown
    assert page("routing_route_change", route.pk) in shown
    assert reverse("lint") in ops.get(reverse("admin:index")).content.decode()


def test_only_who_may_see_all_of_it() -> None:
    assert Client().get(reverse("lint")).status_code == 302
    some = browser(make_staff("routing.view_route"))
    assert some.get(reverse("lint")).status_code == 403
    assert reverse("lint") not in some.get(reverse("admin:index")).content.decode()


def saved(ops: Client, name: str, pk: int, **changes: Any) -> list[str]:
    """What is said after a form was saved."""
    url = page(name, pk)
    answer = ops.post(url, {**form_of(ops, url), **changes}, follow=True)
    assert answer.redirect_chain, "it was saved"
    return [str(message) for message in answer.context["messages"]]


def test_who_saves_a_route_is_told_what_is_not_well_about_it(ops: Client) -> None:
    route = make_route("m-*", make_provider("openai"))
    # Of others nothing is said.
    make_route("n-*", make_provider("anthropic", secret=None))
    assert not any("503" in words for words in saved(ops, "routing_route_change", route.pk, priority="2"))
    [said] = [
        words
        for words in saved(ops, "routing_route_change", route.pk, late_fallback="on")
        if "late" in words and "Only" in words
    ]
    assert said.startswith("Only openai/m-* can answer")


def test_who_saves_a_key_or_a_budget_is_told_too(ops: Client) -> None:
    vllm = make_provider("vllm", base_url="https://vllm.example/v1")
    make_route("m-*", {"provider": vllm, "upstream_model": "llama"})
    key = make_key().row
    said = saved(ops, "accounts_apikey_change", key.pk, allowed_models="n-1")
    assert any("None of the models that it may use has a route: n-1." in words for words in said)
    key.allowed_models = []
    key.save()
    budget = Budget.objects.create(key=key, unit="usd", amount=5, period="month")
    said = saved(ops, "accounts_budget_change", budget.pk, amount="6")
    assert any(words.startswith("m-*: Keys with a budget in money come here") for words in said)


def test_a_new_row_is_looked_at_as_well(ops: Client) -> None:
    provider = make_provider("openai")
    url = page("routing_route_add")
    form = form_of(ops, url)
    form |= {"pattern": "m-*", "late_fallback": "on", "targets-0-provider": str(provider.pk)}
    answer = ops.post(url, form, follow=True)
    assert any("Only openai/m-* can answer" in str(words) for words in answer.context["messages"])


def test_the_settings_say_where_this_gateway_is() -> None:
    assert ("127.0.0.1", 8080) in own_addresses()
