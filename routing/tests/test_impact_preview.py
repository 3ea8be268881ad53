"""Before a change is published: what it would have done to requests of the ledger, by command and page."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.ledger.rows import RequestEntry
from accounts.models import TeamMember
from accounts.rights import EVERY_TEAM
from providers.models import CatalogueModel, Provider
from routing.history import present
from routing.models import Route
from routing.recent import recent
from routing.revisions import latest, publish
from routing.tests.admin_pages import browser, page
from tests.support.rows import Key, make_key, make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db

SECTION = "What this would have changed for recent requests"
MOVES = "openai/gpt-4o -&gt; anthropic/gpt-4o"


def used(key: Key, model: str = "gpt-4o", count: int = 1, **fields: Any) -> None:
    """Requests of this key in the ledger, a second apart and the first of them now."""
    begun = RequestEntry.objects.count()
    values = {
        "state": "settled",
        "process": "p",
        "surface": "chat",
        "team_id": key.row.team_id,
        "team": key.row.team.name,
        "key_id": key.row.pk,
        "key": key.row.prefix,
        "model": model,
        "provider": "openai",
        "upstream_model": model,
        "reserved_input": 1000,
        "reserved_output": 4096,
        "input_tokens": 1000,
        "output_tokens": 100,
        "cost": 5,
    }
    RequestEntry.objects.bulk_create(
        RequestEntry(
            request_id=f"req_{begun + number}",
            at=timezone.now() - timedelta(seconds=begun + number),
            **{**values, **fields},
        )
        for number in range(count)
    )


@pytest.fixture
def keys() -> tuple[Key, Key]:
    """At revision 1 all goes to Anthropic and there is no key of the red team's for gpt-4o; at 2 all goes to
    OpenAI. Of each team's key there are requests."""
    openai, anthropic = make_provider("openai"), make_provider("anthropic")
    for kind, price in (("openai", "2"), ("anthropic", "4")):
        CatalogueModel.objects.create(kind=kind, name="gpt-4o", input_price=price, output_price="10")
    route = make_route("gpt-*", anthropic)
    red, blue = make_key("red", allowed_models=["o1"]), make_key("blue")
    publish("olga", "first")
    route.targets.update(provider=openai)
    red.row.allowed_models = []
    red.row.save()
    publish("olga", "second")
    used(red, count=2)
    used(blue, count=3)
    return red, blue


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("config", *words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.mark.parametrize("way", [("undo", "2"), ("restore", "1")])
def test_a_way_back_says_what_it_would_do(keys: tuple[Key, Key], way: tuple[str, str]) -> None:
    state = present()
    said = json.loads(run(*way, "--dry-run", "--impact", "--json"))
    assert present() == state
    assert latest() == 2
    found = said["preview"]["impact"]
    assert said["revision"] is None
    assert any(change["fields"].get("allowed_models") == [[], ["o1"]] for change in said["changes"])
    assert found["moves"] == [{"source": "openai/gpt-4o", "to": "anthropic/gpt-4o", "requests": 3.0}]
    [lost] = found["lost"]
    assert (lost["key"], lost["team"], lost["model"], lost["requests"]) == (
        keys[0].row.prefix, "red", "gpt-4o", 2.0,
    )  # fmt: skip
    assert (found["requests"], found["refused"], found["paid"]) == (5, 2.0, 25)
    # 3000 tokens of input at 2 dollars a million and then at 4; 300 of output at 10.
    assert (found["cost_now"], found["cost_then"]) == (9_000_000, 15_000_000)
    text = run(*way, "--dry-run", "--impact")
    assert "5 requests were looked at, all of the ledger" in text
    assert "$0.009 now, $0.015 then (+$0.006). They were charged $0.000000025." in text
    assert f"{keys[0].row.prefix} of red, gpt-4o: 2" in text
    assert "nothing was written (--dry-run)" in text


def test_a_file_says_what_it_would_do(keys: tuple[Key, Key], tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text(
        "routes: [{pattern: 'gpt-*', enabled: false, targets: [{provider: openai}]},"
        " {pattern: 'o1', name: idle, targets: [{provider: openai}]}]"
    )
    said = json.loads(run("apply", str(file), "--dry-run", "--impact", "--json"))
    found = said["preview"]["impact"]
    assert {each["why"] for each in found["lost"]} == {"no route takes the model"}
    assert found["refused"] == 5
    assert [each["name"] for each in found["unmatched"]] == ["idle"]
    assert Route.objects.get().enabled
    assert latest() == 2
    text = run("apply", str(file), "--dry-run", "--impact")
    assert "5 that are served now would be refused, 0 of them for want of a target." in text
    assert "Routes that none of these requests takes\n  idle (o1)" in text
    assert "preview" not in json.loads(run("apply", str(file), "--dry-run", "--json"))
    done = json.loads(run("apply", str(file), "--json"))
    assert done["revision"] == latest() == 3


def test_without_a_dry_run_there_is_none(keys: tuple[Key, Key]) -> None:
    with pytest.raises(CommandError, match="--impact goes with --dry-run"):
        run("undo", "2", "--impact")
    assert latest() == 2


def test_without_requests_that_is_said(keys: tuple[Key, Key]) -> None:
    RequestEntry.objects.all().delete()
    assert "There are no requests in the ledger to look at." in run("undo", "2", "--dry-run", "--impact")


def test_the_newest_are_read_and_put_together(keys: tuple[Key, Key]) -> None:
    _, blue = keys
    RequestEntry.objects.all().delete()
    used(blue, count=20)
    used(blue, count=1, reserved_input=5000, input_tokens=4000, cache_read=3000)
    used(blue, count=1, cache="hit", cost=0)
    used(blue, count=1, surface="files")
    used(blue, "older", count=5)
    looked = recent(newest=22)
    assert not looked.all_of_it
    assert recent().all_of_it
    assert sum(each.count for each in looked.requests) == 22
    like, large = looked.requests
    assert (like.count, like.facts.prompt_chars, like.facts.max_tokens) == (21, 4000, 4096)
    assert (like.usage.input_tokens, like.paid) == (20_000, 100), "what the cache answered used nothing"
    assert (large.facts.prompt_chars, large.usage.cache_read) == (20_000, 3000)
    assert {each.facts.model for each in recent().requests} == {"gpt-4o", "older"}


# -- the page


@pytest.mark.parametrize("way", [("undo", 2), ("restore", 1)])
def test_a_page_says_it_before_the_click(keys: tuple[Key, Key], way: tuple[str, int]) -> None:
    boss = browser(User.objects.create_superuser("boss"))
    shown = boss.get(page(f"routing_revision_{way[0]}", way[1])).content.decode()
    assert SECTION in shown
    assert f"{MOVES}: 3" in shown
    assert f"{keys[0].row.prefix} of red" in shown
    assert latest() == 2
    boss.post(page(f"routing_revision_{way[0]}", way[1]))
    assert Route.objects.get().targets.get().provider == Provider.objects.get(name="anthropic")


def test_a_part_alone(keys: tuple[Key, Key]) -> None:
    boss = browser(User.objects.create_superuser("boss"))
    part = {"object": f"key:{keys[0].row.pk}"}
    shown = boss.get(page("routing_revision_undo", 2), part).content.decode()
    assert f"{keys[0].row.prefix} of red" in shown
    assert MOVES not in shown


@pytest.mark.parametrize(
    ("more", "team", "looked"),
    [
        ((), "red", "2 requests were looked at"),
        ((), "blue", "3 requests were looked at"),
        ((), "", "There are no requests"),
        ((EVERY_TEAM,), "", "5 requests were looked at"),
    ],
)
def test_whose_requests(keys: tuple[Key, Key], more: tuple[str, ...], team: str, looked: str) -> None:
    user = make_staff("routing.view_revision", "routing.change_revision", "accounts.view_requestentry", *more)
    for key in keys:
        if key.row.team.name == team:
            TeamMember.objects.create(user=user, team=key.row.team)
    shown = browser(user).get(page("routing_revision_undo", 2)).content.decode()
    assert looked in shown
    assert (f"{keys[0].row.prefix} of red, gpt-4o" in shown) == (team == "red" or bool(more))
    assert (MOVES in shown) == (team == "blue" or bool(more))


def test_who_may_not_see_requests_is_told_nothing_of_them(keys: tuple[Key, Key]) -> None:
    user = make_staff("routing.view_revision", "routing.change_revision", EVERY_TEAM)
    shown = browser(user).get(page("routing_revision_undo", 2)).content.decode()
    assert "What changes" in shown
    assert SECTION not in shown


# -- both databases, with real commits


@pytest.mark.parametrize(
    "database", [pytest.param("sqlite"), pytest.param("postgres", marks=pytest.mark.postgres)]
)
def test_a_look_leaves_nothing_behind(database: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(database)
    openai, anthropic = make_provider("openai"), make_provider("anthropic")
    route = make_route("gpt-*", openai)
    key = make_key("red")
    publish("olga", "first")
    route.targets.update(provider=anthropic)
    publish("olga", "second")
    used(key, count=3)
    state = present()
    for way in (("undo", "2"), ("restore", "1")):
        found = json.loads(run(*way, "--dry-run", "--impact", "--json"))["preview"]["impact"]
        assert (found["requests"], found["moved"], found["unpriced"]) == (3, 3.0, 3.0)
    assert present() == state
    assert latest() == 2
    assert RequestEntry.objects.count() == 3
    run("undo", "2")
    assert latest() == 3, "and nothing is held up"
