"""The book of losses: what it gathers, and that no client can make it grow."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from pipeline.call import Record
from pipeline.losses import MAX_KEPT, MAX_MODEL, MAX_PER_ROUTE, OTHER, LossBook
from routing.losses import Loss, Tally
from routing.snapshot import Losses


def a_record(*dropped: str, model: str = "m", route: str = "gpt-*", losses: Losses = "warn") -> Record:
    return Record(
        request_id="req_1",
        surface="chat",
        started=0.0,
        route=route,
        provider="anthropic",
        upstream_model=model,
        losses=losses,
        dropped=list(dropped),
    )


def counts(book: LossBook) -> dict[tuple[str, str, bool], int]:
    return {(loss.model, loss.field, loss.refused): tally.count for loss, tally in book.take().items()}


def test_losses_are_added_up_and_taken_once() -> None:
    book = LossBook()
    for _ in range(3):
        book.closed(a_record("seed", "logit_bias"))
    book.closed(a_record("seed", losses="strict"))
    book.closed(a_record("seed", losses="silent"))
    book.closed(a_record())
    taken = book.take()
    now = datetime.now(UTC)
    loss = Loss(now.date(), "gpt-*", "anthropic", "chat", "m", "seed", refused=False)
    assert taken[loss].count == 4
    assert abs((now - taken[loss].last_seen).total_seconds()) < 60
    assert sorted((loss.field, loss.refused, tally.count) for loss, tally in taken.items()) == [
        ("logit_bias", False, 3),
        ("seed", False, 4),
        ("seed", True, 1),
    ]
    assert book.take() == {}


def test_what_is_given_back_is_added_to_what_came_meanwhile() -> None:
    book = LossBook()
    book.closed(a_record("seed"))
    taken = book.take()
    book.closed(a_record("seed"))
    book.give_back(taken)
    assert counts(book) == {("m", "seed", False): 2}


def test_made_up_fields_and_models_count_as_other() -> None:
    book = LossBook()
    for number in range(MAX_PER_ROUTE * 3):
        book.closed(a_record(f"field_{number}", model=f"model-{number}"))
    found = counts(book)
    assert len(found) == MAX_PER_ROUTE + 1
    assert found[OTHER, OTHER, False] == MAX_PER_ROUTE * 2
    # What is known already keeps its name, other routes have room, and a flush brings no new room.
    book.closed(a_record("field_0", model="model-0"))
    book.closed(a_record("field_new", model="model-new"))
    book.closed(a_record("field_new", model="model-new", route="claude-*"))
    assert counts(book) == {
        ("model-0", "field_0", False): 1,
        (OTHER, OTHER, False): 1,
        ("model-new", "field_new", False): 1,
    }


def test_what_nobody_takes_is_bounded() -> None:
    book = LossBook()
    now = datetime.now(UTC)
    book.give_back(
        {
            Loss(now.date(), str(n), "p", "s", "m", "f", refused=False): Tally(1, now)
            for n in range(MAX_KEPT + 9)
        }
    )
    book.closed(a_record("seed"))
    assert len(book.take()) == MAX_KEPT


def test_a_models_name_fits_the_column_and_holds_nothing_that_no_database_takes() -> None:
    book = LossBook()
    book.closed(a_record("seed", model="a\0b\x1b" + "x" * 300))
    ((model, _, _),) = counts(book)
    assert model == "a?b?" + "x" * (MAX_MODEL - 4)


def test_calls_close_while_a_writer_takes() -> None:
    book = LossBook()
    done = threading.Event()
    taken = 0

    def take() -> None:
        nonlocal taken
        while not done.is_set():
            taken += sum(counts(book).values())

    writer = threading.Thread(target=take)
    writer.start()
    for number in range(20_000):
        book.closed(a_record(f"field_{number % 50}"))
    done.set()
    writer.join()
    assert taken + sum(counts(book).values()) == 20_000
