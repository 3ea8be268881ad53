"""Who owns which file, in both databases: told once and for all, in pages, and forgotten when it is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from django.db import connections

from accounts.models import Team
from dialects.errors import GatewayError
from providers.models import Provider
from routing.owned import OwnedObject
from routing.owned_table import BATCH, GRACE, OwnedTable
from routing.ownership import Kind, Owned, Page
from tests.support.rows import make_key, make_provider

pytestmark = pytest.mark.usefixtures("database")
TABLE = OwnedTable()


@pytest.fixture
def made(database: None) -> tuple[Provider, Team, Team]:
    return make_provider("openai"), make_key("a").row.team, make_key("b").row.team


def a_file(made: tuple[Provider, Team, Team], name: str = "file-1", **shown: Any) -> Owned:
    provider, team, _ = made
    key = team.keys.get()
    return Owned("file", name, team.pk, key.pk, provider.pk, None, {"id": name, **shown})


def names(found: tuple[Any, bool]) -> list[str]:
    return [owned.id for owned in found[0]]


def test_an_id_is_somebodys_once(made: tuple[Provider, Team, Team]) -> None:
    mine = a_file(made)
    other = made[2].pk
    assert TABLE.add(mine)
    assert TABLE.add(mine)
    assert not TABLE.add(replace(mine, team=other))
    assert TABLE.find(mine.team, "file", "file-1") is not None
    assert TABLE.find(other, "file", "file-1") is None
    assert TABLE.find(mine.team, "batch", "file-1") is None
    assert list(TABLE.strangers(other, ["file-1", "file-2"])) == ["file-1"]
    assert list(TABLE.strangers(mine.team, ["file-1", "file-2"])) == []


def test_of_many_who_say_so_at_once_one_owns_it(made: tuple[Provider, Team, Team]) -> None:
    teams = [made[1].pk, made[2].pk] * 4
    begin = threading.Barrier(len(teams))
    told: list[tuple[int, bool]] = []

    def claim(team: int) -> None:
        begin.wait()
        told.append((team, TABLE.add(replace(a_file(made), team=team))))

    _at_once([partial(claim, team) for team in teams])
    row = OwnedObject.objects.get()
    assert {team for team, ours in told if ours} == {row.team_id}
    assert sum(ours for _, ours in told) == len(teams) // 2


def test_pages(made: tuple[Provider, Team, Team]) -> None:
    for number in range(5):
        TABLE.add(a_file(made, f"file-{number}", purpose="batch" if number % 2 else "user_data"))
    TABLE.add(replace(a_file(made, "theirs"), team=made[2].pk))
    team = made[1].pk
    assert names(TABLE.page(team, "file", Page(limit=2))) == ["file-4", "file-3"]
    assert TABLE.page(team, "file", Page(limit=2))[1]
    assert names(TABLE.page(team, "file", Page(limit=9, after="file-3"))) == ["file-2", "file-1", "file-0"]
    assert names(TABLE.page(team, "file", Page(limit=9, ascending=True, after="file-3"))) == ["file-4"]
    assert names(TABLE.page(team, "file", Page(limit=9, purpose="batch"))) == ["file-3", "file-1"]
    assert TABLE.page(team, "file", Page(after="theirs")) == ([], False)
    assert names(TABLE.page(team, "batch", Page())) == []


@pytest.mark.parametrize("kind", ["file", "batch"])
def test_a_nul_is_in_nothing_that_is_kept(made: tuple[Provider, Team, Team], kind: Kind) -> None:
    TABLE.add(replace(a_file(made, purpose="batch"), kind=kind))
    team = made[1].pk
    assert TABLE.page(team, kind, Page(after="\x00")) == ([], False)
    assert TABLE.page(team, kind, Page(purpose="a\x00b")) == ([], False)
    assert names(TABLE.page(team, kind, Page())) == ["file-1"]


def test_an_id_with_a_nul_is_a_strangers(made: tuple[Provider, Team, Team]) -> None:
    TABLE.add(a_file(made))
    asked = ["a\x00b", "file-1", "nobodys"]
    assert list(TABLE.strangers(made[1].pk, asked)) == ["a\x00b"]
    assert sorted(TABLE.strangers(made[2].pk, asked)) == ["a\x00b", "file-1"]


def test_what_is_shown_is_kept_and_what_is_deleted_goes(made: tuple[Provider, Team, Team]) -> None:
    mine = a_file(made)
    TABLE.add(mine)
    TABLE.show(replace(mine, shown={"id": "file-1", "status": "processed", "name": "ž \u2028 🐎"}))
    found = TABLE.find(mine.team, "file", "file-1")
    assert found is not None
    assert found.shown["name"] == "ž \u2028 🐎"
    TABLE.remove(replace(mine, team=made[2].pk))
    assert TABLE.find(mine.team, "file", "file-1") is not None
    TABLE.remove(mine)
    assert TABLE.find(mine.team, "file", "file-1") is None


def test_files_that_are_long_gone_are_forgotten(made: tuple[Provider, Team, Team]) -> None:
    now = int(time.time())
    over = [a_file(made, f"old-{number}", expires_at=now - GRACE - 60) for number in range(BATCH + 3)]
    OwnedObject.objects.bulk_create(
        OwnedObject(
            kind="file", upstream_id=o.id, provider_id=o.provider, team_id=o.team, expires=o.expires, shown={}
        )
        for o in over
    )
    TABLE.add(a_file(made, "just-over", expires_at=now - 60))
    assert OwnedObject.objects.filter(upstream_id__startswith="old-").count() == 3
    TABLE.add(a_file(made, "later", expires_at=now + 3600))
    # A batch that is over is still to be seen.
    TABLE.add(replace(a_file(made, "batch-1", expires_at=now - 2 * GRACE), kind="batch"))
    TABLE.add(a_file(made, "for-ever"))
    kept = set(OwnedObject.objects.values_list("upstream_id", flat=True))
    assert kept == {"just-over", "later", "batch-1", "for-ever"}
    assert names(TABLE.page(made[1].pk, "file", Page())) == ["for-ever", "later"]


def test_a_database_that_fails_is_a_503(made: tuple[Provider, Team, Team]) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("DROP TABLE routing_ownedobject")
    with pytest.raises(GatewayError) as caught:
        TABLE.find(made[1].pk, "file", "file-1")
    assert caught.value.status("openai") == 503
    assert "routing_ownedobject" not in caught.value.message


def _at_once(tasks: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
