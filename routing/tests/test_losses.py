"""Losses in the table: added up by all writers, kept while the database is away, forgotten in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import DatabaseError, connections

from pipeline.call import Record
from pipeline.losses import LossBook
from routing.loss_table import BATCH, LossTable
from routing.losses import Loss, Tally
from routing.models import TranslationLoss
from routing.writer import KEEP, TableWriter

NOW = datetime.now(UTC)
TODAY = NOW.date()
PATIENCE = 10.0


def a_loss(field: str = "seed", day: date = TODAY, *, refused: bool = False) -> Loss:
    return Loss(day, "gpt-*", "anthropic", "chat", "claude-haiku-4-5", field, refused)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def rows() -> dict[tuple[str, bool], int]:
    return {(row.field, row.refused): row.count for row in TranslationLoss.objects.all()}


class Table(LossTable):
    """The real table, which can be away."""

    def __init__(self) -> None:
        self.away = False
        self.tried = 0

    def add(self, losses: object) -> None:
        self.tried += 1
        if self.away:
            raise DatabaseError("host=secret")
        super().add(losses)  # type: ignore[arg-type]  # whatever the writer gives


@contextmanager
def writing(
    book: LossBook, table: LossTable, interval: float = 0.01
) -> Iterator[TableWriter[dict[Loss, Tally]]]:
    writer = TableWriter("translation losses", book, table, interval)
    writer.start()
    writer.start()
    try:
        yield writer
    finally:
        writer.stop(PATIENCE)


def lose(book: LossBook, *fields: str) -> None:
    record = Record(request_id="r", surface="chat", started=0.0, route="gpt-*", dropped=list(fields))
    book.closed(record)


@pytest.mark.usefixtures("database")
def test_counts_are_added_to_those_that_are_there() -> None:
    table = LossTable()
    early = NOW - timedelta(hours=1)
    table.add({a_loss(): Tally(3, NOW), a_loss("top_k"): Tally(1, NOW)})
    table.add({a_loss(): Tally(4, early), a_loss(refused=True): Tally(2, NOW)})
    assert rows() == {("seed", False): 7, ("top_k", False): 1, ("seed", True): 2}
    # What was given back after an outage is older than what others wrote meanwhile.
    assert TranslationLoss.objects.get(field="seed", refused=False).last_seen == NOW
    table.add({a_loss(day=TODAY - timedelta(days=1)): Tally(1, early)})
    assert TranslationLoss.objects.count() == 4


@pytest.mark.usefixtures("database")
def test_replicas_add_at_once_and_nothing_is_lost() -> None:
    fields = [f"field_{number}" for number in range(20)]
    failed: list[BaseException] = []

    def replica(turn: int) -> None:
        try:
            for _ in range(10):
                # Each in an order of its own.
                LossTable().add({a_loss(f): Tally(1, NOW) for f in fields[turn:] + fields[:turn]})
        except DatabaseError as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=replica, args=(turn * 5,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert rows() == {(field, False): 40 for field in fields}


@pytest.mark.usefixtures("database")
def test_old_days_are_forgotten_in_batches() -> None:
    old = TODAY - KEEP - timedelta(days=1)
    TranslationLoss.objects.bulk_create(
        TranslationLoss(**a_loss(f"f{number}", old)._asdict(), last_seen=NOW) for number in range(BATCH + 5)
    )
    kept = a_loss("kept", TODAY - KEEP)
    LossTable().add({kept: Tally(1, NOW)})
    book = LossBook()
    lose(book, "seed")
    with writing(book, LossTable()):
        until(lambda: TranslationLoss.objects.count() == 2)
    assert rows() == {("kept", False): 1, ("seed", False): 1}


@pytest.mark.usefixtures("database")
def test_a_writer_writes_now_and_then_and_what_is_left_at_the_end() -> None:
    book, table = LossBook(), Table()
    with writing(book, table):
        lose(book, "seed")
        until(lambda: rows() == {("seed", False): 1})
        lose(book, "seed", "top_k")
        until(lambda: rows() == {("seed", False): 2, ("top_k", False): 1})
    with writing(book, table, interval=60):
        lose(book, "seed")
    assert rows()["seed", False] == 3


@pytest.mark.usefixtures("sqlite")
def test_nothing_lost_asks_the_database_for_nothing() -> None:
    table = Table()
    with writing(LossBook(), table):
        time.sleep(0.1)
    assert table.tried == 0


@pytest.mark.usefixtures("sqlite")
def test_while_the_database_is_away_losses_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    book, table = LossBook(), Table()
    table.away = True
    with writing(book, table):
        lose(book, "seed")
        until(lambda: table.tried > 3)
        lose(book, "seed")
        table.away = False
        until(lambda: rows() == {("seed", False): 2})
    said = [record.getMessage() for record in caplog.records if record.name == "routing.writer"]
    assert said == [
        "translation losses cannot be written: DatabaseError",
        "translation losses can be written again",
    ]


@pytest.mark.usefixtures("database")
def test_whatever_a_client_calls_a_model_can_be_written() -> None:
    book = LossBook()
    for model in ("a\0b", "模型" * 200, "\x7f\u2028", "'; DROP TABLE x; --"):
        record = Record("r", "chat", 0.0, route="*", upstream_model=model, dropped=["seed"])
        book.closed(record)
    taken = book.take()
    LossTable().add(taken)
    assert TranslationLoss.objects.count() == len(taken) == 4
