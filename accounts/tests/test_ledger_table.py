"""Lines become rows: once, whatever their order and however often they are sent."""

from __future__ import annotations

import itertools
import threading
from datetime import date, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connections

from accounts.ledger import keep, proof
from accounts.ledger.rows import AttemptEntry, LedgerCut, RequestEntry, UsageDay
from accounts.ledger.sums import SUMS, spent
from accounts.ledger.table import BATCH, write
from accounts.ledger.watch import orphan
from accounts.tests.ledger_lines import AT, ending, line, opening

pytestmark = pytest.mark.usefixtures("database")
DAY = AT.date()


def the_row() -> RequestEntry:
    return RequestEntry.objects.get()


def sums() -> dict[str, int]:
    """The sums of all days together."""
    rows = list(UsageDay.objects.values(*SUMS))
    return {name: total for name in SUMS if (total := sum(row[name] for row in rows))}


def sound() -> bool:
    return not [*proof.prove(date(1970, 1, 1)), *proof.duplicates()]


def test_a_call_is_reserved_before_its_attempt_and_settled_at_its_end() -> None:
    write([opening()], "p1")
    row = the_row()
    assert (row.state, row.reserved_input, row.reserved_output, row.reserved_cost) == (
        "reserved", 10, 4096, 41_000_000,
    )  # fmt: skip
    assert (row.at, row.process, row.team, row.key, row.provider) == (AT, "p1", "crew", "gw-abc", "openai")
    assert [a.state for a in row.attempts.all()] == ["reserved"]
    # Nothing is spent by what may still come to nothing.
    assert sums() == {}
    assert write([ending()], "p1").ended == 1
    row = the_row()
    assert (row.state, row.cost, row.usage_source, row.ttft_ms, row.tries) == (
        "settled",
        72_500,
        "provider",
        40,
        1,
    )
    (attempt,) = row.attempts.all()
    assert (attempt.state, attempt.outcome, attempt.upstream_request_id) == ("settled", "ok", "up_1")
    assert sums() == {
        "requests": 1, "input_tokens": 10, "output_tokens": 5, "cache_read": 2, "reasoning": 1,
        "cost": 72_500, "total_ms": 900, "upstream_ms": 850, "ttft_ms": 40, "ttft_count": 1,
        "ok_1000": 1,
    }  # fmt: skip
    assert sound()


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_lines_count_once_in_whatever_order_and_however_often(order: tuple[int, ...]) -> None:
    lines = [opening(), opening(number=2), ending(attempts=2)]
    for which in order:
        write([lines[which]], "p1")
    before = sums()
    for which in (*order, *reversed(order)):
        assert write([lines[which]], "p2").ended == 0
    write(lines, "p2")
    assert before["requests"] == 1
    assert sums() == before
    assert (the_row().state, the_row().process) == ("settled", "p1")
    assert [a.state for a in AttemptEntry.objects.order_by("number")] == ["released", "settled"]
    assert sound()


@pytest.mark.parametrize("state", ["settled", "estimated", "released"])
def test_an_end_is_final(state: str) -> None:
    write([opening(), ending(state=state)], "p1")
    other = "released" if state == "settled" else "settled"
    assert write([ending(state=other, cost=1)], "p1").ended == 0
    assert orphan("p1") == 0
    assert (the_row().state, the_row().cost) == (state, 72_500)


def test_what_a_dead_process_left_is_charged_as_it_was_reserved() -> None:
    write([opening(), opening("req_2", reserved_cost=None), ending("req_3")], "dead")
    write([opening("req_4")], "alive")
    assert orphan("dead") == 2
    assert orphan("dead") == 0
    row = RequestEntry.objects.get(request_id="req_1")
    assert (row.state, row.usage_source, row.cost) == ("orphaned", "reservation", 41_000_000)
    assert (row.input_tokens, row.output_tokens, row.outcome) == (10, 4096, "error")
    assert [a.state for a in row.attempts.all()] == ["orphaned"]
    # An unknown price is not nothing.
    assert RequestEntry.objects.get(request_id="req_2").cost is None
    assert RequestEntry.objects.get(request_id="req_4").state == "reserved"
    assert sums()["cost"] == 41_000_000 + 72_500
    assert (sums()["requests"], sums()["orphaned"], sums()["unpriced"]) == (3, 2, 1)
    LedgerCut.objects.all().delete()


def test_a_process_that_was_only_cut_off_corrects_what_was_guessed_of_it() -> None:
    write([opening()], "p1")
    assert orphan("p1") == 1
    assert write([ending()], "p1").ended == 1
    assert write([ending()], "p1").ended == 0
    row = the_row()
    assert (row.state, row.cost, row.flags) == ("settled", 72_500, "corrected")
    assert [a.state for a in row.attempts.all()] == ["settled"]
    assert (sums()["cost"], sums()["requests"]) == (72_500, 1)
    assert "orphaned" not in sums()
    assert sound()


def test_more_that_was_set_aside_is_charged_too() -> None:
    raised = line("r", "req_1", 8192, 82_000_000)
    write([opening()], "p1")
    write([raised], "p1")
    write([raised, opening("req_2"), raised.replace(b"req_1", b"req_2")], "p1")
    orphan("p1")
    assert set(RequestEntry.objects.values_list("output_tokens", "cost")) == {(8192, 82_000_000)}


def test_a_bad_line_holds_up_nobody() -> None:
    deep = ending("req_deep", status=2**40) if connections["default"].vendor == "postgresql" else b"{}\n"
    bad = [
        b"half a li\n",
        b"[]\n",
        b"\xff\xfe\n",
        b'["e"]\n',
        line("a", "req_x", ["soon"], [1]),
        opening("req_x", at="soon"),
        ending("req_y", at=1e300),
        line("e", "req_z", [], []),
        line("z", "req_z", 1, 2),
        line("a", 7, None, [1]),
        deep,
        ending("req_wrong", state="spent"),
    ]
    done = write([opening("req_0"), *bad, ending("req_1"), ending("req_2")], "p1")
    assert (done.ended, done.unreadable) == (2, len(bad))
    assert set(RequestEntry.objects.values_list("request_id", flat=True)) == {"req_0", "req_1", "req_2"}
    assert sums()["requests"] == 2


def test_whatever_clients_and_providers_call_things_can_be_written() -> None:
    for number, name in enumerate(("a\0b", "模型" * 300, "'; DROP TABLE x; --", "\x7f\u2028")):
        write([opening(f"req_{number}", model=name), ending(f"req_{number}", model=name, code=name)], "p1")
    assert UsageDay.objects.count() == RequestEntry.objects.count() == 4
    assert sound()


def test_many_requests_and_long_ones() -> None:
    names = [f"req_{number:04}" for number in range(2 * BATCH + 1)]
    write([*(opening(name) for name in names), ending("req_long", attempts=900)], "p1")
    assert write([ending(name) for name in names], "p1").ended == len(names)
    assert AttemptEntry.objects.count() == len(names) + 900
    assert sums()["requests"] == len(names) + 1
    assert sound()


def test_a_version_that_knows_other_columns_is_understood() -> None:
    write([opening(colour="red"), ending(colour="red", total_ms=1)], "p1")
    assert the_row().total_ms == 1


def test_processes_that_write_at_once_wait_for_each_other_and_lose_nothing() -> None:
    """Four, of the same keys, models and days, and each sends all of it twice."""
    failed: list[BaseException] = []

    def process(turn: int) -> None:
        names = [f"req_{turn}_{number}" for number in range(60)]
        try:
            for begin in range(0, 60, 15):
                some = names[begin : begin + 15]
                lines = [ending(name, model=f"m{(turn + place) % 5}") for place, name in enumerate(some)]
                write([*(opening(name) for name in some)], f"p{turn}")
                write(lines, f"p{turn}")
                write(lines, f"p{turn}")
        except DatabaseError as error:
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=process, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert (sums()["requests"], sums()["cost"]) == (240, 240 * 72_500)
    assert sound()


@pytest.mark.parametrize(
    ("whose", "cost"),
    [({}, 4), ({"team_id": 7}, 3), ({"key_id": 9}, 2), ({"team_id": 99}, 0)],
    ids=["everybody", "team", "key", "nobody"],
)
def test_what_is_spent_of_a_budget(whose: dict[str, Any], cost: int) -> None:
    yesterday = (AT - timedelta(days=1)).timestamp()
    write(
        [
            ending("a", key_id=9),
            ending("b", key_id=9),
            ending("c", key_id=10),
            ending("d", key_id=11, team_id=8),
            ending("e", key_id=9, at=yesterday),
            ending("f", key_id=9, cost=None, input_tokens=0, output_tokens=0),
            opening("g", key_id=9),
        ],
        "p1",
    )
    assert spent("usd", DAY, **whose) == cost * 72_500
    assert spent("tokens", DAY, **whose) == cost * 15
    if "key_id" in whose:
        assert spent("usd", date(1970, 1, 1), **whose) == 3 * 72_500


def test_what_belongs_to_days_that_were_deleted_does_not_come_back() -> None:
    old = (AT - timedelta(days=40)).timestamp()
    write([ending("old", at=old), ending("new")], "p1")
    assert keep.delete(DAY - timedelta(days=30)) == 1
    done = write([ending("old", at=old), opening("old_too", at=old), ending("new")], "p1")
    assert (done.ended, done.stale) == (0, 2)
    assert sums()["requests"] == 2
    assert sound()
