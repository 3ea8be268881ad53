"""Watching: a change is in force soon, trouble leaves the last good one, and nothing ends the thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection, connections
from pytest_django.plugin import DjangoDbBlocker

from providers.apps import vault
from routing.models import Route
from routing.revisions import publish
from routing.snapshot import EMPTY, Snapshot
from routing.source import TableSource
from routing.watch import SnapshotHolder, Watcher
from tests.support.databases import instead, postgres_settings
from tests.support.rows import make_provider, make_route
from tests.support.services import PostgresServer

# Far over what the loop needs; tests that go well never wait for it.
PATIENCE = 10.0
QUICK = 0.005


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


class Scripted:
    """A source whose number and faults a test sets."""

    def __init__(self) -> None:
        self.number = 1
        self.fault: Exception | None = None
        self.kept: Snapshot | None = None
        self.behind = False
        self.looks = self.loads = self.releases = 0
        self.hang: threading.Event | None = None

    def latest(self) -> int:
        self.looks += 1
        if self.hang is not None:
            self.hang.wait(PATIENCE)
        if self.fault is not None:
            raise self.fault
        return self.number

    def load(self) -> Snapshot:
        self.loads += 1
        return Snapshot(revision=self.number)

    def pending(self) -> bool:
        if self.fault is not None:
            raise self.fault
        return self.behind

    def recall(self) -> Snapshot | None:
        if self.kept is None:
            raise RuntimeError("nothing kept, and badly so")
        return self.kept

    def release(self) -> None:
        self.releases += 1
        raise RuntimeError("closing fails too")


@pytest.fixture
def source() -> Scripted:
    return Scripted()


@pytest.fixture
def holder() -> SnapshotHolder:
    return SnapshotHolder(EMPTY)


@pytest.fixture
def watcher(holder: SnapshotHolder, source: Scripted) -> Iterator[Watcher]:
    made = Watcher(holder, source, QUICK)
    yield made
    made.stop(PATIENCE)


def test_the_first_look_is_over_when_start_returns(
    watcher: Watcher, holder: SnapshotHolder, source: Scripted
) -> None:
    watcher.start(PATIENCE)
    assert holder.current.revision == 1
    assert watcher.fresh()


def test_only_a_new_number_is_loaded(watcher: Watcher, holder: SnapshotHolder, source: Scripted) -> None:
    watcher.start(PATIENCE)
    seen = source.looks
    until(lambda: source.looks > seen + 5)
    assert source.loads == 1
    source.number = 2
    until(lambda: holder.current.revision == 2)
    assert source.loads == 2


def test_a_lower_number_is_a_change_too(watcher: Watcher, holder: SnapshotHolder, source: Scripted) -> None:
    """A database that was restored from a backup has gone back."""
    source.number = 9
    watcher.start(PATIENCE)
    source.number = 3
    until(lambda: holder.current.revision == 3)


def test_while_the_source_fails_the_last_good_one_stays_and_the_log_says_so_once(
    watcher: Watcher, holder: SnapshotHolder, source: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    watcher.start(PATIENCE)
    good = holder.current
    source.fault = OSError("password=hunter2 host=db.internal")
    until(lambda: not watcher.healthy)
    seen = source.looks
    until(lambda: source.looks > seen + 5)
    assert holder.current is good
    assert caplog.text.count("configuration cannot be read") == 1
    assert "hunter2" not in caplog.text
    assert source.releases > 0
    source.fault, source.number = None, 4
    until(lambda: holder.current.revision == 4)
    until(lambda: watcher.healthy)
    assert caplog.text.count("configuration can be read again") == 1


def test_without_a_database_at_the_start_what_was_kept_serves_until_it_is_back(
    watcher: Watcher, holder: SnapshotHolder, source: Scripted
) -> None:
    source.fault, source.kept = OSError("gone"), Snapshot(revision=1)
    watcher.start(PATIENCE)
    assert holder.current is source.kept
    assert not watcher.fresh()
    source.fault = None
    # Read anew although the number is the same: what is kept may be of another database.
    until(lambda: holder.current is not source.kept)
    assert holder.current.revision == 1
    until(watcher.fresh)


def test_nothing_kept_leaves_it_empty_and_the_watcher_alive(
    watcher: Watcher, holder: SnapshotHolder, source: Scripted
) -> None:
    source.fault = OSError("gone")
    watcher.start(PATIENCE)
    assert holder.current is EMPTY
    source.fault = None
    until(lambda: holder.current.revision == 1)


def test_a_hanging_database_holds_up_neither_start_nor_stop(
    watcher: Watcher, holder: SnapshotHolder, source: Scripted
) -> None:
    source.hang = threading.Event()
    watcher.start(0.05)
    assert holder.current is EMPTY
    assert watcher.age is None
    watcher.stop(0.05)
    source.hang.set()


def test_while_a_database_hangs_at_the_start_what_was_kept_serves(
    watcher: Watcher, holder: SnapshotHolder, source: Scripted
) -> None:
    source.hang, source.kept = threading.Event(), Snapshot(revision=1)
    watcher.start(0.05)
    assert holder.current is source.kept
    source.hang.set()
    until(watcher.fresh)
    assert holder.current is not source.kept


def test_starting_twice_is_starting_once_and_stopping_ends_the_thread(
    watcher: Watcher, source: Scripted
) -> None:
    before = set(threading.enumerate())

    def added() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in before]

    watcher.start(PATIENCE)
    watcher.start(PATIENCE)
    assert len(added()) == 1
    watcher.stop(PATIENCE)
    assert added() == []
    looks = source.looks
    time.sleep(5 * QUICK)
    assert source.looks == looks


@pytest.mark.usefixtures("database")
def test_a_row_that_is_published_is_in_force_in_another_thread(tmp_path: Path) -> None:
    route = make_route("gpt-*", make_provider())
    publish("somebody", "made")
    holder = SnapshotHolder(EMPTY)
    watcher = Watcher(holder, TableSource(tmp_path / "last-good", vault()), QUICK)
    try:
        watcher.start(PATIENCE)
        assert [r.pattern for r in holder.current.routes] == ["gpt-*"]
        Route.objects.filter(pk=route.pk).update(pattern="o1-*")
        publish("somebody", "renamed")
        until(lambda: [r.pattern for r in holder.current.routes] == ["o1-*"])
    finally:
        watcher.stop(PATIENCE)


@pytest.mark.usefixtures("sqlite")
def test_tables_that_vanish_leave_the_last_good_one(tmp_path: Path) -> None:
    make_route("gpt-*", make_provider())
    publish("somebody", "made")
    holder = SnapshotHolder(EMPTY)
    watcher = Watcher(holder, TableSource(tmp_path / "last-good", vault()), QUICK)
    try:
        watcher.start(PATIENCE)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE routing_revision RENAME TO gone")
        connections["default"].close()
        until(lambda: not watcher.healthy)
        assert [r.pattern for r in holder.current.routes] == ["gpt-*"]
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE gone RENAME TO routing_revision")
        until(lambda: watcher.healthy)
    finally:
        watcher.stop(PATIENCE)


@pytest.mark.postgres
@pytest.mark.slow
def test_p1_a_server_that_dies_freezes_and_comes_back_is_found_again(
    fresh_postgres: PostgresServer, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    with instead(postgres_settings(fresh_postgres.url), django_db_blocker):
        call_command("migrate", verbosity=0)
        make_route("gpt-*", make_provider())
        publish("somebody", "made")
        path = tmp_path / "last-good"
        holder = SnapshotHolder(EMPTY)
        watcher = Watcher(holder, TableSource(path, vault()), QUICK)
        try:
            watcher.start(PATIENCE)
            good = holder.current
            fresh_postgres.kill()
            until(lambda: not watcher.healthy)
            assert holder.current is good
            # Another process that starts meanwhile serves what was kept.
            late = SnapshotHolder(EMPTY)
            second = Watcher(late, TableSource(path, vault()), QUICK)
            second.start(PATIENCE)
            assert late.current.routes == good.routes
            assert not second.fresh()
            connections["default"].close()
            fresh_postgres.start()
            until(lambda: watcher.healthy)
            until(second.fresh)
            second.stop(PATIENCE)
            # Frozen, it neither answers nor fails: what is in force stays, and a change is seen afterwards.
            fresh_postgres.stop()
            try:
                time.sleep(20 * QUICK)
                assert holder.current is good
            finally:
                fresh_postgres.cont()
            Route.objects.update(pattern="o1-*")
            publish("somebody", "renamed")
            until(lambda: [r.pattern for r in holder.current.routes] == ["o1-*"])
        finally:
            watcher.stop(PATIENCE)
