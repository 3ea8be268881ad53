"""Drills: what each fault leads to, that the real state is left alone, and the command and the page."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from console.asking import configured
from console.drill import FAULTS, Plan, Report, drill
from providers.apps import vault
from tests.support.rows import make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db


WRONG = (
    ("fault", "x"),
    ("calls", "x"),
    ("calls", "99999"),
    ("apart", "nan"),
    ("key", "gw-no"),
    ("provider", "\0"),
)


@pytest.fixture
def _two_tiers() -> None:
    """A first provider and one that stands in for it, in a route of its own."""
    first = make_provider("first", kind="openai", secret="sk-first-0123456789")
    second = make_provider("second", kind="anthropic", secret="sk-second-0123456789")
    route = make_route("gpt-4o", first)
    route.targets.create(provider=second, upstream_model="claude-opus-4-5", tier=1)


def held(fault: str, **more: Any) -> Report:
    snapshot, _ = configured("", vault())
    return asyncio.run(drill(snapshot, Plan("gpt-4o", "first", fault, **more)))


@pytest.mark.usefixtures("_two_tiers")
@pytest.mark.parametrize("fault", ["429", "503", "refused", "stall"])
def test_the_second_serves_when_the_first_fails(fault: str) -> None:
    report = held(fault)
    assert report.failed == 0
    assert set(report.served) == {"second/claude-opus-4-5"}
    assert report.calls[0].asked[0].startswith("first/")
    # The breaker, or the provider's own word, spares most of them the failure.
    asked = sum(any(each.startswith("first/") for each in call.asked) for call in report.calls)
    assert 1 <= asked < len(report.calls)
    if fault != "429":
        assert any(each.target.startswith("first") and each.state == "open" for each in report.breakers)
    if fault == "stall":
        assert report.calls[0].seconds > 30
        assert report.calls[-1].seconds < 1


@pytest.mark.usefixtures("_two_tiers")
def test_a_cut_stream_is_told_as_it_is() -> None:
    report = held("cut", calls=3)
    assert report.failed == 3
    assert report.calls[0].error
    assert report.calls[0].served == ""


@pytest.mark.usefixtures("_two_tiers")
def test_who_is_slow_still_serves() -> None:
    report = held("slow", calls=3)
    assert report.failed == 0
    assert report.calls[0].seconds >= 10


@pytest.mark.usefixtures("_two_tiers")
def test_the_same_drill_is_the_same_and_says_nothing_of_others() -> None:
    assert held("503") == held("503")
    snapshot, _ = configured("", vault())
    report = asyncio.run(drill(snapshot, Plan("gpt-4o", "second", "503")))
    assert set(report.served) == {"first/gpt-4o"}
    assert report.breakers == []


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("rehearse", *words, stdout=out)
    return out.getvalue()


@pytest.mark.usefixtures("_two_tiers")
def test_the_command() -> None:
    text = run("--model", "gpt-4o", "--provider", "first", "--fault", "503")
    assert "20 of 20 served" in text
    assert "breaker of first" in text
    assert "sk-" not in text
    said = json.loads(
        run("--model", "gpt-4o", "--provider", "first", "--fault", "429", "--calls", "2", "--json")
    )
    assert len(said["calls"]) == 2
    for words in (
        ("--model", "gpt-4o", "--provider", "nobody", "--fault", "503"),
        ("--model", "gpt-4o", "--provider", "first", "--fault", "503", "--calls", "0"),
        ("--model", "gpt-4o", "--provider", "first", "--fault", "503", "--key", "gw-nobody"),
    ):
        with pytest.raises(CommandError):
            run(*words)
    assert "failed with model_not_found" in run("--model", "nothing", "--provider", "first", "--fault", "503")


@pytest.mark.usefixtures("_two_tiers")
def test_the_page(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root"))
    url = "/admin/rehearse/"
    page = client.get(url).content.decode()
    assert all(fault in page for fault in FAULTS)
    asked = {"model": "gpt-4o", "provider": "first", "fault": "503", "calls": "5", "apart": "1"}
    told = client.post(url, asked).content.decode()
    assert "5 of 5" in told
    assert "second/claude-opus-4-5" in told
    for wrong in (
        {"fault": "x"},
        {"calls": "x"},
        {"calls": "99999"},
        {"apart": "nan"},
        {"key": "gw-no"},
        {"provider": "\0"},
    ):
        reply = client.post(url, {**asked, **wrong})
        assert reply.status_code == 200
        assert 'role="alert"' in reply.content.decode(), wrong
    client.force_login(make_staff(name="nobody"))
    assert client.get(url).status_code == 403
