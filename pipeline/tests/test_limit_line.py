"""Waiting for a place under a limit: who gets it, who does not wait, and that nothing is held in line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest

from dialects.errors import GatewayError
from pipeline import limit_line
from pipeline.call import Call, Deadline
from pipeline.limit_line import LimitLines
from pipeline.memory import MemoryStore
from pipeline.purse import Counters
from pipeline.redis_store import RedisStore
from pipeline.reservation import Granted, expected, plea
from pipeline.stores import Store, Verdict
from pipeline.tests.errands import World
from pipeline.tests.redis_replicas import replicas
from routing.allowances import Limit
from routing.snapshot import Priority
from tests.support.services import RedisServer

SOON = 30.0
_ids = count(1)


class News:
    """Who waits, by what the lines say."""

    def __init__(self) -> None:
        self.waiting = 0
        self.waits: list[str] = []
        self.refusals: list[str] = []
        self._changed = asyncio.Event()

    def queued(self, _scope: str, change: int) -> None:
        self.waiting += change
        self._changed.set()

    def waited(self, scope: str, _seconds: float) -> None:
        self.waits.append(scope)

    def refused(self, kind: str, _scope: str) -> None:
        self.refusals.append(kind)

    async def until(self, waiting: int) -> None:
        async with asyncio.timeout(SOON):
            while self.waiting != waiting:
                self._changed.clear()
                await self._changed.wait()


def limit(amount: int = 1, wait: float = SOON, **fields: object) -> Limit:
    return replace(Limit(next(_ids), "concurrency", amount, 0, key_id=1, wait_seconds=wait), **fields)  # type: ignore[arg-type]  # fields of a Limit


@dataclass
class Process:
    """The lines of one process before a store."""

    store: Store
    news: News
    lines: LimitLines

    def call(self, *limits: Limit, priority: Priority = "normal") -> Call:
        call = World().call()
        call.record.request_id = f"req_{next(_ids)}"
        call.caller = replace(call.caller, limits=limits, priority=priority)
        return call

    async def ask(self, call: Call) -> Granted:
        likely = expected(call, priced=False)
        return await self.lines.decide(call, plea(call, likely, self.store.now()), likely)

    async def in_line(self, call: Call) -> asyncio.Task[Granted]:
        """A task that stands in line."""
        waiting = self.news.waiting
        task = asyncio.create_task(self.ask(call))
        await self.news.until(waiting + 1)
        return task

    def end(self, granted: Granted) -> None:
        self.store.settle(granted.plea.demand, granted.verdict, (0,) * len(granted.plea.rows))
        self.lines.given_back(granted.plea)


def process(store: Store) -> Process:
    news = News()
    return Process(store, news, LimitLines(Counters(store, lambda _budget, _start: 0), news))


@pytest.fixture
def one() -> Process:
    return process(MemoryStore())


@pytest.fixture
async def two(fresh_redis: RedisServer) -> AsyncIterator[list[Process]]:
    async with replicas(fresh_redis.url, 2) as made:
        yield [process(each.store) for each in made]


async def test_a_call_waits_for_a_place_and_gets_it(one: Process) -> None:
    row = limit()
    first = await one.ask(one.call(row))
    call = one.call(row)
    second = await one.in_line(call)
    one.end(first)
    assert (await second).verdict.admitted
    assert call.record.queue_seconds > 0
    assert (one.news.waiting, one.news.waits) == (0, ["key"])


async def test_without_the_setting_it_is_refused_at_once(one: Process) -> None:
    row = limit(wait=0)
    await one.ask(one.call(row))
    assert not (await one.ask(one.call(row))).verdict.admitted
    assert one.news.waits == []


async def test_turns_go_by_priority_and_then_by_arrival(one: Process) -> None:
    row = limit()
    granted = await one.ask(one.call(row))
    words: tuple[Priority, ...] = ("low", "normal", "high", "normal")
    waiting = [await one.in_line(one.call(row, priority=word)) for word in words]
    for number in (2, 1, 3, 0):
        one.end(granted)
        granted = await waiting[number]
        assert one.news.waiting == sum(not task.done() for task in waiting)
    assert one.news.waiting == 0


async def test_several_places_that_come_free_are_all_taken(one: Process) -> None:
    row = limit(2)
    held = [await one.ask(one.call(row)) for _ in range(2)]
    waiting = [await one.in_line(one.call(row)) for _ in range(3)]
    one.end(held[0])
    one.end(held[1])
    assert (await waiting[0]).verdict.admitted
    assert (await waiting[1]).verdict.admitted
    assert not waiting[2].done()
    one.end(await waiting[0])
    assert (await waiting[2]).verdict.admitted


async def test_nobody_slips_in_before_who_waits(one: Process) -> None:
    row = limit()
    first = await one.ask(one.call(row))
    waiting = await one.in_line(one.call(row))
    one.end(first)
    # The place is free in this moment, and not this one's.
    late = asyncio.create_task(one.ask(one.call(row)))
    granted = await waiting
    assert granted.verdict.admitted
    assert not late.done()
    one.end(granted)
    assert (await late).verdict.admitted


async def test_a_wait_that_is_too_long_ends_in_a_refusal(one: Process) -> None:
    row = limit(wait=0.02)
    await one.ask(one.call(row))
    assert not (await one.ask(one.call(row))).verdict.admitted
    assert one.news.waiting == 0


async def test_a_call_whose_own_time_is_over_is_told_so(one: Process) -> None:
    row = limit()
    await one.ask(one.call(row))
    call = one.call(row)
    call.deadline = Deadline.after(0.02)
    with pytest.raises(GatewayError) as raised:
        await one.ask(call)
    assert raised.value.code == "deadline_exceeded"


async def test_a_line_is_bounded(one: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_line, "MOST_IN_LINE", 2)
    row = limit()
    await one.ask(one.call(row))
    waiting = [await one.in_line(one.call(row)) for _ in range(2)]
    with pytest.raises(GatewayError) as raised:
        await one.ask(one.call(row))
    assert (raised.value.status("openai"), raised.value.code) == (429, "concurrency")
    assert raised.value.detail.retry_after == 1
    assert one.news.refusals == ["concurrency"]
    await gone(*waiting)


async def test_who_leaves_the_line_holds_nothing_and_lets_the_next_go(one: Process) -> None:
    row = limit()
    first = await one.ask(one.call(row))
    leaver, other = await one.in_line(one.call(row)), await one.in_line(one.call(row))
    await gone(leaver)
    one.end(first)
    one.end(await other)
    assert isinstance(one.store, MemoryStore)
    assert not list(one.store.leases())
    assert (one.news.waiting, one.lines._lines) == (0, {})


async def test_nothing_else_is_reserved_in_line(one: Process) -> None:
    row, tokens = limit(), limit(10, kind="requests", span=60, wait_seconds=0.0)
    first = await one.ask(one.call(row))
    waiting = await one.in_line(one.call(row, tokens))
    assert (await one.ask(one.call(tokens))).verdict.levels[0].used == 1
    one.end(first)
    assert (await waiting).verdict.levels[1].used == 2


async def test_what_no_waiting_mends_is_refused_at_once(one: Process) -> None:
    row, requests = limit(), limit(1, kind="requests", span=3600, wait_seconds=0.0)
    await one.ask(one.call(row, requests))
    verdict = (await one.ask(one.call(row, requests))).verdict
    assert not verdict.admitted
    assert one.news.waits == []


async def test_a_call_keeps_its_turn_from_one_limit_to_the_next(one: Process) -> None:
    """Whoever waits for a key's place does not stand in the way of a team's other keys, and comes before them
    when that place is had and the team's is not."""
    mine, teams = limit(), limit(key_id=None, team_id=1)
    first = await one.ask(one.call(mine))
    old = await one.in_line(one.call(mine, teams))
    other = await one.ask(one.call(teams))
    new = await one.in_line(one.call(teams))
    one.end(first)
    await two_in_one_line(one)
    one.end(other)
    granted = await old
    assert granted.verdict.admitted
    assert not new.done()
    one.end(granted)
    assert (await new).verdict.admitted


async def two_in_one_line(one: Process) -> None:
    async with asyncio.timeout(SOON):
        while max(len(line) for line in one.lines._lines.values()) < 2:  # noqa: ASYNC110 - nobody tells it
            await asyncio.sleep(0)


@pytest.mark.valkey
async def test_a_place_that_another_process_gives_back_is_found(two: list[Process]) -> None:
    here, there = two
    row = limit()
    first = await there.ask(there.call(row))
    waiting = await here.in_line(here.call(row))
    there.end(first)
    assert (await waiting).verdict.admitted


@pytest.mark.valkey
async def test_a_place_is_never_given_twice_across_processes(two: list[Process]) -> None:
    row = limit(3)
    inside = most = 0

    async def visit(where: Process) -> Verdict:
        nonlocal inside, most
        granted = await where.ask(where.call(row))
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.002)
        inside -= 1
        where.end(granted)
        return granted.verdict

    done = await asyncio.gather(*(visit(two[number % 2]) for number in range(40)))
    assert all(verdict.admitted for verdict in done)
    assert most == 3
    assert [each.news.waiting for each in two] == [0, 0]


@pytest.mark.valkey
async def test_who_leaves_as_the_answer_comes_gives_its_place_back(
    two: list[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled in the moment between Redis's answer and the call's next step."""
    here, _ = two
    row = limit(wait=0)
    call = here.call(row)
    asked = plea(call, expected(call, priced=False), here.store.now())
    task = asyncio.create_task(here.store.decide(asked.demand))
    assert isinstance(here.store, RedisStore)
    answered = here.store._answered

    def answered_too_late(*told: Any) -> None:
        answered(*told)
        task.cancel()

    monkeypatch.setattr(here.store, "_answered", answered_too_late)
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    assert (await here.ask(here.call(row))).verdict.admitted


async def gone(*tasks: asyncio.Task[Granted]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
