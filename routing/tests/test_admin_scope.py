"""Staff who belong to teams see these teams' requests and usage in whatever shows them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from accounts.admin_base import TeamScoped
from accounts.ledger.folding import fold_next
from accounts.ledger.rows import RequestEntry, UsageDay, UsageFold
from accounts.ledger.table import write
from accounts.models import Team, TeamMember
from accounts.rights import EVERY_TEAM
from accounts.tests.ledger_lines import ending
from routing.models import CachePurge, Route
from routing.models_semantic import SemanticEvent
from routing.owned import OwnedObject
from routing.tests.admin_pages import browser, page, taken
from tests.support.rows import make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db

LIST = page("accounts_requestentry_changelist")
DAYS = page("accounts_usageday_changelist")
HITS = page("routing_semanticevent_changelist")
FILES = page("routing_ownedobject_changelist")
LOOK = (
    "accounts.view_requestentry",
    "accounts.view_usageday",
    "routing.view_semanticevent",
    "routing.view_semantic_prompts",
    "routing.view_ownedobject",
    "routing.delete_ownedobject",
    "routing.add_cachepurge",
)
USAGE = page("accounts_usageday_usage")
BY = ("team", "key", "model")
TEAMS = ("red", "green", "blue")


@pytest.fixture
def teams() -> dict[str, Team]:
    """Three teams, each with a request of a key and a model of its own, a hit, and a file."""
    rows = {name: Team.objects.create(name=name) for name in TEAMS}
    provider = make_provider("openai")
    for name, row in rows.items():
        route = make_route(f"model-{name}", provider, team=row)
        hit: dict[str, Any] = {
            "at": datetime.now(UTC), "request_id": f"req_{name}", "team": row.pk, "route": route.pk,
            "model": f"model-{name}", "embedder": "local", "question": "q", "similarity": 0.9,
            "threshold": 0.8,
        }  # fmt: skip
        SemanticEvent.objects.create(kind="hit", entry=f"entry-{name}", prompt=f"asked-{name}", **hit)
        # All three had this answer, which was another's first.
        SemanticEvent.objects.create(kind="hit", entry="entry-common", prompt=f"asked-{name}", **hit)
        SemanticEvent.objects.create(kind="kept", entry="entry-common", prompt=f"kept-{name}", **hit)
        OwnedObject.objects.create(
            kind="file",
            upstream_id=f"file-{name}",
            provider=provider,
            team=row,
            shown={"filename": f"{name}.txt"},
        )
    now = datetime.now(UTC).timestamp()
    write(
        [
            ending(
                f"req_{name}",
                at=now,
                team=name,
                team_id=row.pk,
                key=f"gw-{name}",
                key_id=100 + row.pk,
                model=f"model-{name}",
            )
            for name, row in rows.items()
        ],
        "p1",
    )
    return rows


def member(*teams: Team, more: tuple[str, ...] = ()) -> User:
    user = make_staff(*LOOK, *more)
    TeamMember.objects.bulk_create(TeamMember(user=user, team=team) for team in teams)
    return user


def superuser(_: dict[str, Team]) -> User:
    return User.objects.create_superuser("root")


WHO: dict[str, tuple[Callable[[dict[str, Team]], User], set[str]]] = {
    "superuser": (superuser, {"red", "green", "blue"}),
    "every team": (lambda _: make_staff(*LOOK, EVERY_TEAM), {"red", "green", "blue"}),
    "every team, and a member": (
        lambda teams: member(teams["red"], more=(EVERY_TEAM,)),
        {"red", "green", "blue"},
    ),
    "of one team": (lambda teams: member(teams["red"]), {"red"}),
    "of two teams": (lambda teams: member(teams["red"], teams["blue"]), {"red", "blue"}),
    "of no team": (lambda _: member(), set()),
}


@pytest.fixture(params=list(WHO))
def seer(request: pytest.FixtureRequest, teams: dict[str, Team]) -> tuple[Client, set[str]]:
    make, seen = WHO[request.param]
    return browser(make(teams)), seen


def found(text: str) -> set[str]:
    """The teams of which a page says anything: by name, key or model."""
    return {
        name
        for name in TEAMS
        if any(
            word in text
            for word in (
                f"req_{name}",
                f"gw-{name}",
                f"model-{name}",
                f">{name}</",
                f"asked-{name}",
                f"kept-{name}",
                f"entry-{name}",
                f"file-{name}",
                f"{name}.txt",
            )
        )
    }


@pytest.mark.parametrize(
    "url",
    [
        LIST,
        LIST + "?day=today",
        HITS,
        HITS + "?kind__exact=hit",
        FILES,
        FILES + "?kind__exact=file",
        DAYS,
        DAYS + "?day=today",
        *(f"{USAGE}?by={by}" for by in BY),
    ],
)
def test_lists_and_their_filters(seer: tuple[Client, set[str]], url: str) -> None:
    client, seen = seer
    text = client.get(url).content.decode()
    assert found(text) == seen
    assert ("You belong to no team" in text) == (not seen)


@pytest.mark.parametrize("name", TEAMS)
def test_whatever_is_asked_of_a_list(
    seer: tuple[Client, set[str]], teams: dict[str, Team], name: str
) -> None:
    client, seen = seer
    for query in (
        f"team={teams[name].pk}",
        f"model=model-{name}",
        f"q=req_{name}",
    ):
        rows = client.get(f"{LIST}?{query}").context["cl"].result_list
        assert {row.team for row in rows} == seen & {name}, query


@pytest.mark.parametrize("name", TEAMS)
def test_whatever_is_asked_of_hits_and_files(
    seer: tuple[Client, set[str]], teams: dict[str, Team], name: str
) -> None:
    client, seen = seer
    pk = teams[name].pk
    for query in (f"team={pk}", f"q=req_{name}", f"q=model-{name}"):
        found_rows = client.get(f"{HITS}?{query}").context["cl"].result_list
        assert {row.team for row in found_rows} == ({pk} if name in seen else set()), query
    for query in (f"team__id__exact={pk}", f"q=file-{name}", f"q={name}"):
        found_rows = client.get(f"{FILES}?{query}").context["cl"].result_list
        told = {row.team.name for row in found_rows}
        # Where there is one team to choose from, Django drops the filter by it.
        assert told == {name} if name in seen else told <= seen, query
    for kind, row in (
        ("semanticevent", SemanticEvent.objects.get(entry=f"entry-{name}")),
        ("ownedobject", OwnedObject.objects.get(team=pk)),
    ):
        for what in ("change", "history"):
            answer = client.get(page(f"routing_{kind}_{what}", row.pk))
            assert answer.status_code == (200 if name in seen else 302), (kind, what)


def test_sums_of_hits_are_of_ones_teams(seer: tuple[Client, set[str]]) -> None:
    client, seen = seer
    sums = {row["entry"]: row["times"] for row in client.get(HITS).context["sums"]}
    common = {"entry-common": len(seen)} if seen else {}
    assert sums == {f"entry-{name}": 1 for name in seen} | common


def test_actions_reach_the_rows_of_ones_teams_alone(seer: tuple[Client, set[str]]) -> None:
    client, seen = seer
    hits = list(
        SemanticEvent.objects.filter(entry__in=[f"entry-{name}" for name in TEAMS]).values_list(
            "pk", flat=True
        )
    )
    files = list(OwnedObject.objects.values_list("pk", flat=True))
    for url, pks in ((HITS, hits), (FILES, files)):
        answer = client.post(url, {"action": "export_csv", "_selected_action": pks}, follow=True)
        assert found(answer.content.decode()) == seen
    client.post(HITS, {"action": "purge_answers", "_selected_action": hits})
    assert set(CachePurge.objects.values_list("key", flat=True)) == {f"entry-{name}" for name in seen}
    client.post(FILES, {"action": "delete_selected", "_selected_action": files, "post": "yes"})
    assert set(OwnedObject.objects.values_list("team__name", flat=True)) == set(TEAMS) - seen


@pytest.mark.parametrize("name", TEAMS)
def test_details(seer: tuple[Client, set[str]], name: str) -> None:
    client, seen = seer
    pk = RequestEntry.objects.get(team=name).pk
    for kind in ("change", "history"):
        answer = client.get(page(f"accounts_requestentry_{kind}", pk))
        assert answer.status_code == (200 if name in seen else 302)
        assert (f"req_{name}" in answer.content.decode()) == (name in seen)


def test_chosen_rows_as_csv(seer: tuple[Client, set[str]]) -> None:
    client, seen = seer
    every = list(UsageDay.objects.values_list("pk", flat=True))
    answer = client.post(DAYS, {"action": "export_csv", "_selected_action": every}, follow=True)
    assert found(answer.content.decode()) == seen


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("name", TEAMS)
@pytest.mark.parametrize("by", BY)
def test_usage_of_one(
    seer: tuple[Client, set[str]], teams: dict[str, Team], name: str, by: str, *, folded: bool
) -> None:
    client, seen = seer
    while folded and fold_next(timezone.now().date() + timedelta(days=9)):
        continue
    assert UsageFold.objects.exists() == folded
    for only in (f"team={teams[name].pk}", f"model=model-{name}", f"key={100 + teams[name].pk}"):
        answer = client.get(f"{USAGE}?by={by}&{only}")
        ((_, cost), *_) = answer.context["cards"]
        assert cost == ("$0.000073" if name in seen else "$0.00")
        assert len(answer.context["table"]) == (name in seen)


def test_streams_of_csv(seer: tuple[Client, set[str]]) -> None:
    client, seen = seer
    for query in ("", *(f"?model=model-{name}" for name in TEAMS)):
        text = str(taken(client.get(page("accounts_requestentry_export") + query)))
        assert found(text) == (seen if not query else seen & {query.rpartition("-")[2]})


def test_usage_as_csv(seer: tuple[Client, set[str]]) -> None:
    client, seen = seer
    head, *rows = taken(client.get(page("accounts_usageday_export")))
    assert {row[head.index("team")] for row in rows} == seen


def test_nobody_sees_more_because_a_team_is_gone(teams: dict[str, Team]) -> None:
    client = browser(member(teams["red"]))
    OwnedObject.objects.all().delete()
    Route.objects.all().delete()
    teams["red"].delete()
    assert found(client.get(LIST).content.decode()) == set()


def test_teams_are_given_on_the_page_of_a_user(teams: dict[str, Team]) -> None:
    user = member()
    client = browser(User.objects.create_superuser("root"))
    url = page("auth_user_change", user.pk)
    form = {
        "username": user.username,
        "is_active": "on",
        "is_staff": "on",
        "date_joined_0": "2030-01-01",
        "date_joined_1": "00:00:00",
        "user_permissions": [each.pk for each in user.user_permissions.all()],
        "identities-TOTAL_FORMS": 0,
        "identities-INITIAL_FORMS": 0,
        "team_members-TOTAL_FORMS": 1,
        "team_members-INITIAL_FORMS": 0,
        "team_members-0-user": user.pk,
        "team_members-0-team": teams["green"].pk,
    }
    assert client.get(url).status_code == 200
    assert client.post(url, form).status_code == 302
    assert found(browser(user).get(LIST).content.decode()) == {"green"}
    assert client.get(page("auth_user_add")).status_code == 200


def test_every_page_with_a_team_is_of_ones_teams_or_is_configuration() -> None:
    admin.autodiscover()
    with_team = {
        model._meta.label: isinstance(site, TeamScoped)
        for model, site in admin.site._registry.items()
        if {"team", "team_id"} & {field.name for field in model._meta.fields}
    }
    assert {label for label, scoped in with_team.items() if scoped} == {
        "accounts.Capture", "accounts.RequestEntry", "accounts.UsageDay", "routing.SemanticEvent",
        "routing.OwnedObject",
    }  # fmt: skip
    # As docs/ledger.md says: who may look at these sees every team's.
    assert {label for label, scoped in with_team.items() if not scoped} == {
        "accounts.ApiKey", "accounts.Limit", "accounts.Budget", "accounts.ManagementToken", "routing.Route",
        "routing.CachePurge",
    }  # fmt: skip
