"""A route's settings of its cache: from the document to the table, to the snapshot, and back."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError

from accounts.apps import hasher
from providers.apps import vault
from routing import loader_traffic
from routing.caching import Caching, Purge
from routing.configfile import ConfigError, load_yaml, parse
from routing.configfile_apply import Means, Outcome, apply
from routing.configfile_export import export
from routing.loader import build_snapshot
from routing.models import Revision, Route
from routing.snapshot import Snapshot
from tests.support.rows import make_route

DOCUMENT = """
providers: {openai: {api_key: sk-0123456789abcdef}}
routes:
  - pattern: cached
    targets: [{provider: openai}]
    cache: {mode: exact, ttl: 60, scope: key, max_bytes: 2048, tools: true, temperature: 0.5}
  - pattern: usual
    targets: [{provider: openai}]
    cache: {mode: exact}
  - pattern: plain
    targets: [{provider: openai}]
"""


def applied(document: Any) -> Outcome:
    means = Means(vault=vault(), hasher=hasher(), environ={})
    return apply(parse(document), means, author="somebody", reason="test")


@pytest.mark.usefixtures("database")
def test_what_a_document_says_is_in_the_snapshot_and_comes_out_again() -> None:
    applied(load_yaml(DOCUMENT))
    routes = {route.pattern: route for route in build_snapshot(vault()).routes}
    assert routes["cached"].caching == Caching("exact", 60, "key", 2048, tools=True, temperature=0.5)
    assert routes["usual"].caching == Caching()
    assert routes["plain"].caching is None
    exported = {route["pattern"]: route["cache"] for route in export()["routes"]}
    assert exported["cached"] == {
        "mode": "exact",
        "ttl": 60,
        "scope": "key",
        "max_bytes": 2048,
        "tools": True,
        "temperature": 0.5,
    }
    assert exported["plain"]["mode"] == "off"
    assert applied({"routes": export()["routes"]}).revision is None


@pytest.mark.usefixtures("database")
def test_a_change_is_a_revision_that_says_what() -> None:
    applied(load_yaml(DOCUMENT))
    applied({"routes": [{"pattern": "cached", "cache": {"mode": "off"}}]})
    newest = Revision.objects.first()
    assert newest is not None
    assert [change["fields"] for change in newest.summary] == [{"cache": ["exact", "off"]}]
    assert all(route.caching is None for route in build_snapshot(vault()).routes if route.pattern == "cached")


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"mode": "sometimes"}, "cache.mode"),
        ({"ttl": 0}, "cache.ttl"),
        ({"ttl": 31 * 86_400}, "cache.ttl"),
        ({"scope": "everybody"}, "cache.scope"),
        ({"max_bytes": 1}, "cache.max_bytes"),
        ({"temperature": -0.1}, "cache.temperature"),
        ({"semantic": 0.9}, "cache"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(said: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"routes": [{"pattern": "x", "cache": said}]})
    assert named in caught.value.problems[0]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "field", [{"cache": "x"}, {"cache_scope": "all"}, {"cache_ttl": 0}, {"cache_temperature": 3.0}]
)
def test_the_database_refuses_it_too(field: dict[str, Any]) -> None:
    route = make_route("somewhere")
    with pytest.raises(IntegrityError):
        Route.objects.filter(pk=route.pk).update(**field)


def test_a_kept_file_of_an_older_version_has_no_cache() -> None:
    older = ["weighted", "none", "hold-first", "cancel", 1, 10.0, 100, None, None, None, None, None]
    assert loader_traffic.route(older)["caching"] is None
    now = [*older, None]
    assert loader_traffic.route([*now, "exact", 60, "team", 1024, False, 0.0])["caching"] == Caching(
        ttl=60, max_bytes=1024
    )


def test_the_last_purge_that_concerns_a_team_on_a_route_counts() -> None:
    purges = (
        Purge(1),
        Purge(2, team_id=1),
        Purge(3, route_id=5),
        Purge(4, team_id=1, route_id=6),
        Purge(9, team_id=1, key="ab" * 32),
    )
    snapshot = Snapshot(1, purges=purges)
    epochs = [snapshot.cache_epoch(*place) for place in ((1, 7), (1, 5), (1, 6), (2, 5), (2, 7))]
    assert epochs == [2, 3, 4, 3, 1]
    assert Snapshot(1).cache_epoch(1, 5) == 0
