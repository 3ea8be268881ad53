"""The thread between journal and database: what it carries, when the database is away, and whom it takes for
dead."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection, connections
from prometheus_client import CollectorRegistry
from pytest_django.plugin import DjangoDbBlocker

from accounts.ledger import watch
from accounts.ledger.folding import folded_days
from accounts.ledger.journal import Journal
from accounts.ledger.metrics import LedgerMetrics
from accounts.ledger.rows import LedgerProcess, RequestEntry, UsageDay, UsageFold
from accounts.ledger.table import write
from accounts.ledger.watch import SILENT_SECONDS, Census
from accounts.ledger.writer import Writer
from accounts.tests.ledger_lines import AT, ending, opening
from tests.support.databases import instead, postgres_settings
from tests.support.services import PostgresServer

PATIENCE = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where journals are."""
    return tmp_path / "ledger"


class Office:
    """A journal with its writer, as a process has them."""

    def __init__(self, folder: Path, days: int | None = None) -> None:
        self.registry = CollectorRegistry()
        metrics = LedgerMetrics(self.registry)
        self.journal = Journal(folder, 1 << 30, metrics.dropped)
        self.writer = Writer(self.journal, folder, metrics, days)
        self.writer.interval = 0.01

    def say(self, *lines: bytes) -> None:
        for line in lines:
            self.journal.append(line, vital=True)

    def metric(self, name: str) -> float:
        return self.registry.get_sample_value(f"gateway_ledger_{name}") or 0.0


@contextmanager
def an_office(folder: Path, days: int | None = None) -> Iterator[Office]:
    office = Office(folder, days)
    office.writer.start()
    office.writer.start()
    try:
        yield office
    finally:
        office.writer.stop(PATIENCE)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def states() -> dict[str, str]:
    return dict(RequestEntry.objects.values_list("request_id", "state"))


@pytest.mark.usefixtures("database")
def test_what_is_said_is_in_the_database_a_moment_later_and_at_the_end(folder: Path) -> None:
    with an_office(folder) as office:
        office.say(opening())
        until(lambda: states() == {"req_1": "reserved"})
        assert LedgerProcess.objects.get().name == office.journal.name
        office.say(ending())
        until(lambda: states() == {"req_1": "settled"})
        office.writer.interval = 60
        office.say(opening("req_2"), ending("req_2"), opening("req_3"))
    assert states() == {"req_1": "settled", "req_2": "settled", "req_3": "reserved"}
    assert office.metric("requests_written_total") == 2
    assert LedgerProcess.objects.count() == 0
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("database")
def test_days_that_are_over_are_folded_beside_the_writing(folder: Path) -> None:
    now = datetime.now(UTC)
    write([ending(f"req_{n}", at=(now - timedelta(days=n)).timestamp()) for n in range(6)], "p")
    over = [now.date() - timedelta(days=n) for n in (5, 4, 3)]
    with an_office(folder) as office:
        until(lambda: list(folded_days()) == over)
        # One that ends late is in what is folded.
        office.say(ending("late", at=(now - timedelta(days=4)).timestamp()))
        until(lambda: UsageFold.objects.get(day=over[1]).requests == 2)
    assert list(folded_days()) == over


@pytest.mark.usefixtures("database")
def test_what_is_spent_counts_what_is_only_written_down(folder: Path) -> None:
    office = Office(folder)
    office.journal.open()
    office.say(ending(), ending("req_2"), opening("req_3"))
    # Somebody died here, too, and nobody has looked yet.
    dead = Office(folder)
    dead.journal.open()
    dead.say(ending("req_4"), opening("req_5"))
    dead.journal.close()
    assert office.writer.spent("usd", AT.date(), key_id=9) == 3 * 72_500 + 41_000_000
    assert states()["req_5"] == "orphaned"
    assert office.writer.spent("tokens", AT.date() + timedelta(days=1)) == 0


@pytest.mark.usefixtures("database")
def test_the_journal_of_a_dead_process_is_carried_and_its_calls_are_charged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead = Office(folder)
    dead.journal.open()
    dead.say(opening(), opening("req_2"), ending("req_2"))
    # In the database already, as far as this goes.
    write([opening("req_0"), opening()], dead.journal.name)
    dead.journal.close()
    with an_office(folder) as office:
        until(lambda: states() == {"req_0": "orphaned", "req_1": "orphaned", "req_2": "settled"})
        until(lambda: len(list(folder.glob("*.lock"))) == 1)
        until(lambda: office.metric("orphaned_total") == 2)
    assert UsageDay.objects.get().cost == 2 * 41_000_000 + 72_500
    assert any(
        "its journal is written, 2 requests charged as reserved" in each.getMessage()
        for each in caplog.records
    )


def test_while_the_database_is_away_lines_wait_on_disk(
    fresh_postgres: PostgresServer,
    folder: Path,
    django_db_blocker: DjangoDbBlocker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("accounts.ledger.writer.PAUSE", 0.05)
    monkeypatch.setattr("accounts.ledger.writer.BEHIND_SECONDS", 0.2)
    caplog.set_level(logging.WARNING, "accounts.ledger.writer")
    with instead(postgres_settings(fresh_postgres.url), django_db_blocker):
        from django.core.management import call_command  # noqa: PLC0415 - read here, where the database is

        call_command("migrate", verbosity=0)
        connections.close_all()
        with an_office(folder) as office:
            office.say(opening())
            until(lambda: states() == {"req_1": "reserved"})
            connections.close_all()
            fresh_postgres.kill()
            office.say(ending(), opening("req_2"), ending("req_2"), opening("req_3"))
            until(lambda: office.writer.behind)
            until(lambda: office.metric("journal_bytes") > 0 and office.metric("lag_seconds") > 0.1)
            fresh_postgres.start()
            until(lambda: office.journal.depth == 0)
            assert not office.writer.behind
            assert states() == {"req_1": "settled", "req_2": "settled", "req_3": "reserved"}
            assert UsageDay.objects.get().requests == 2
            connections.close_all()
    said = [each.getMessage() for each in caplog.records if each.name == "accounts.ledger.writer"]
    assert said == ["the ledger cannot be written: OperationalError", "the ledger can be written again"]


@pytest.mark.usefixtures("database")
def test_a_process_on_another_machine_is_dead_when_it_is_silent() -> None:
    now = [1000.0]
    here, there = Census("here", lambda: now[0]), Census("there")
    write([opening()], "there")
    there.beat()
    here.beat()
    assert here.dead() == []
    now[0] += SILENT_SECONDS - 1
    assert here.dead() == []
    there.beat()
    now[0] += SILENT_SECONDS - 1
    assert here.dead() == []
    now[0] += SILENT_SECONDS
    assert here.dead() == ["there"]
    assert watch.orphan("there") == 1
    assert states() == {"req_1": "orphaned"}
    assert here.dead() == []
    there.beat()
    there.leave()
    assert set(LedgerProcess.objects.values_list("name", flat=True)) == {"here"}


@pytest.mark.usefixtures("sqlite")
def test_who_could_not_reach_the_database_takes_nobody_for_dead() -> None:
    now = [1000.0]
    here = Census("here", lambda: now[0])
    Census("there").beat()
    assert here.dead() == []
    now[0] += 3 * SILENT_SECONDS
    here.forget()
    assert here.dead() == []


@pytest.mark.usefixtures("sqlite")
def test_requests_of_a_process_that_nobody_knows_are_found() -> None:
    write([opening(), opening("req_2")], "gone")
    write([opening("req_3"), ending("req_3")], "gone too")
    write([opening("req_4")], "here")
    assert Census("here").dead() == ["gone"]


@pytest.mark.usefixtures("sqlite")
def test_old_requests_go_in_the_background(folder: Path) -> None:
    old = [ending(f"req_{number}", at=1_000_000.0 + number) for number in range(1100)]
    write([*old, ending("today", at=time.time())], "p1")
    with an_office(folder, days=30) as office:
        until(lambda: states() == {"today": "settled"})
        office.say(ending("too late", at=1_000_000.0))
        until(
            lambda: office.registry.get_sample_value("gateway_ledger_dropped_total", {"reason": "stale"}) == 1
        )
    assert sum(row.requests for row in UsageDay.objects.all()) == 1101


@pytest.mark.usefixtures("sqlite")
def test_a_table_that_is_not_there_yet_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version beside a database that is not migrated yet."""
    monkeypatch.setattr("accounts.ledger.writer.PAUSE", 0.02)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_ledgerprocess RENAME TO elsewhere")
    with an_office(folder) as office:
        office.say(opening(), ending())
        until(lambda: office.metric("journal_bytes") > 0)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO accounts_ledgerprocess")
        until(lambda: office.journal.depth == 0)
    assert states() == {"req_1": "settled"}
