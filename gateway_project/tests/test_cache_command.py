"""manage.py cache: purges that every replica reads, and what Redis holds."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from prometheus_client import CollectorRegistry

from accounts.models import Team
from gateway_project.management.commands import cache
from gateway_project.settings import GATEWAY
from pipeline.cache_metrics import CacheMetrics
from pipeline.cache_stores import Kept, Place
from pipeline.tests.patient_redis import started
from providers.apps import vault
from routing.caching import Purge
from routing.loader import build_snapshot
from routing.models import CachePurge, Revision
from tests.support.rows import make_route
from tests.support.services import RedisServer

KEY = "ab" * 32


def run(*words: str) -> str:
    out = io.StringIO()
    call_command("cache", *words, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_a_purge_is_a_revision_that_every_replica_reads() -> None:
    team, route = Team.objects.create(name="crew"), make_route("gpt-*")
    run("purge", "--team", "crew")
    run("purge", "--team", "crew", "--route", "gpt-*")
    run("purge", "--entry", KEY)
    run("purge", "--all")
    first, second, third, last = build_snapshot(vault()).purges
    assert first == Purge(first.id, team.pk, None)
    assert second == Purge(second.id, team.pk, route.pk)
    assert third == Purge(third.id, key=KEY)
    assert last == Purge(last.id)
    newest = Revision.objects.first()
    assert newest is not None
    assert (newest.author, newest.reason) == ("command line", "cache purge: all answers of every team")
    assert {purge.author for purge in CachePurge.objects.all()} == {"command line"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Say --team"),
        (("--all", "--team", "crew"), "Say --team"),
        (("--team", "nobody"), "No team is named 'nobody'"),
        (("--route", "nowhere"), "No route is named 'nowhere'"),
        (("--entry", "xyz"), "64 digits"),
        (("--entry", KEY, "--team", "crew"), "leave team and route empty"),
    ],
)
def test_what_makes_no_sense_is_refused(words: tuple[str, ...], told: str) -> None:
    Team.objects.create(name="crew")
    with pytest.raises(CommandError, match=told):
        run("purge", *words)
    assert not CachePurge.objects.exists()


@pytest.mark.django_db
def test_without_redis_it_says_where_to_look() -> None:
    assert "gateway_cache_bytes" in run("stats")


@pytest.mark.valkey
@pytest.mark.django_db
def test_what_each_team_has_in_redis(fresh_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    team = Team.objects.create(name="crew")
    monkeypatch.setattr(cache, "GATEWAY", replace(GATEWAY, cache_redis_url=fresh_redis.url))
    asyncio.run(fill(fresh_redis.url, team.pk))
    told = run("stats")
    assert "crew: 2 answers, " in told
    assert "which is gone: 1 answers" in told
    assert "3 answers in all" in told
    fresh_redis.kill()
    with pytest.raises(CommandError, match="Redis does not answer"):
        run("stats")


async def fill(url: str, team: Any) -> None:
    store = await started(url, 1 << 20, CacheMetrics(CollectorRegistry()))
    await store.put(Place(team, 1), [Kept(bytes([n]) * 32, b"value", 60) for n in (1, 2)])
    await store.put(Place(team + 1, 1), [Kept(b"\x03" * 32, b"value", 60)])
    await store.stop()
