"""What a process says of itself second by second, and how it reaches whoever watches."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from dialects.types import Usage
from pipeline.call import Record, Refusal
from pipeline.pulse import BOUNDS, Now, PulseBook, added, share
from pipeline.pulse_boards import Board, FolderBoard, Heard
from pipeline.pulse_desk import Beat, Desk
from pipeline.pulse_redis import RedisBoard
from pipeline.redis_link import RedisLink


def record(team: str = "crew", provider: str = "openai", **fields: object) -> Record:
    made = Record("req_1", "chat", started=10.0, team=team, provider=provider, model="gpt-4o", status=200)
    made.first_content, made.ended = 10.3, 11.0
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def watched(name: str = "one") -> PulseBook:
    book = PulseBook(name, clock=lambda: 5.0)
    book.watched = True
    return book


def test_while_nobody_watches_nothing_is_kept() -> None:
    book = PulseBook("one")
    book.closed(record())
    book.refused(Refusal("req_2", "chat", 401, "invalid_api_key", "", "", None))
    (second,) = book.tick(Now()).seconds
    assert (second.flows, second.rows, second.more) == ([], [], 0)


def test_a_second_tells_its_requests_by_team_and_provider() -> None:
    book = watched()
    book.closed(record(used=Usage(input_tokens=3, output_tokens=4), cost=70))
    book.closed(record(outcome="error", code="upstream_error", status=502))
    book.closed(record(team="others", provider=""))
    book.refused(Refusal("req_2", "chat", 429, "requests", "gw-12", "crew", None))
    (second,) = book.tick(Now(open=2)).seconds
    figures = {(flow.team, flow.provider): (flow.ok, flow.failed) for flow in second.flows}
    assert figures == {("crew", "openai"): (1, 1), ("others", ""): (1, 0), ("crew", ""): (0, 1)}
    first = second.rows[0]
    assert (first.ms, first.first_ms, first.tokens, first.cost, first.at) == (1000.0, 300.0, 7, 70, 5.0)
    assert [row.code for row in second.rows] == ["", "upstream_error", "", "requests"]


def test_a_busy_second_counts_all_and_shows_some() -> None:
    book = watched()
    for _ in range(50):
        book.closed(record())
    (second,) = book.tick(Now()).seconds
    assert (len(second.rows), second.more, second.flows[0].ok) == (20, 30, 50)
    pulses = [book.tick(Now()) for _ in range(4)]
    assert [one.number for one in pulses[-1].seconds] == [3, 4, 5]


@pytest.mark.parametrize(
    ("seconds", "low", "high"), [([0.001] * 9, 0, 0.005), ([1.0] * 100, 0.64, 1.28), ([9999.0], 163, 164)]
)
def test_shares_are_right_within_their_bounds(seconds: list[float], low: float, high: float) -> None:
    book = watched()
    for each in seconds:
        book.closed(record(ended=10.0 + each, first_content=0.0))
    [flow] = book.tick(Now()).seconds[0].flows
    for part in (0.5, 0.95):
        found = share(flow.took, part)
        assert found is not None
        assert low <= found <= high
    assert share(flow.first, 0.5) is None
    assert BOUNDS[0] == 0.005


def test_sums_leave_what_they_are_made_of() -> None:
    book = watched()
    book.closed(record())
    book.closed(record(team="others"))
    flows = book.tick(Now()).seconds[0].flows
    assert added(flows, lambda _: "all")["all"].ok == 2
    assert [flow.ok for flow in flows] == [1, 1]


@pytest.fixture
async def redis_boards(redis_url: str) -> AsyncIterator[list[Board]]:
    client: Redis = Redis.from_url(redis_url)
    await client.delete("llmgw:pulses")
    boards: list[Board] = [RedisBoard(RedisLink(redis_url, lambda: None)) for _ in range(2)]
    yield boards
    for board in boards:
        await board.aclose()
    await client.delete("llmgw:pulses")
    await client.aclose()


@pytest.fixture(params=["folder", pytest.param("redis", marks=pytest.mark.valkey)])
def boards(request: pytest.FixtureRequest, tmp_path: Path) -> list[Board]:
    """Those of two processes."""
    if request.param == "folder":
        return [FolderBoard(tmp_path / "live"), FolderBoard(tmp_path / "live")]
    found: list[Board] = request.getfixturevalue("redis_boards")
    return found


async def test_processes_hear_of_each_other_once_somebody_watches(boards: list[Board]) -> None:
    here, there = boards
    assert await there.exchange("b", b"{}", watching=False) == (False, [])
    assert await here.exchange("a", b"", watching=True) == (True, [])
    assert await there.exchange("b", b'{"b":1}', watching=False) == (True, [])
    heard = await here.exchange("a", b'{"a":1}', watching=True)
    assert sorted(heard.pulses) == [b'{"a":1}', b'{"b":1}']


async def test_a_desk_adds_up_what_both_processes_saw(boards: list[Board]) -> None:
    books = PulseBook("a"), PulseBook("b")
    desks = [
        Desk(book, board, lambda: Now(open=1, in_flight={"openai": 1}))
        for book, board in zip(books, boards, strict=True)
    ]
    with desks[0].watch() as queue:
        for _ in range(2):
            for desk in desks:
                await desk.beat()
        assert all(book.watched for book in books)
        while not queue.empty():
            queue.get_nowait()
        for book in books:
            book.closed(record())
        # The other one speaks first, or is heard with the beat that follows.
        await desks[1].beat()
        await desks[0].beat()
        await desks[0].beat()
        beats = [queue.get_nowait() for _ in range(queue.qsize())]
    assert set(beats[-1].processes) == {"a", "b"}
    flows = [flow for beat in beats for second in beat.seconds for flow in second.flows]
    assert sum(flow.ok for flow in flows) == 2, "each is told once"
    assert not beats[-1].alone


async def test_who_is_slow_gets_the_newest_and_holds_up_nobody() -> None:
    class Silent:
        async def exchange(self, process: str, pulse: bytes, *, watching: bool) -> Heard:
            return Heard(watched=watching, pulses=[b"what is this", b'{"process": 1}', b"\xff"])

        async def aclose(self) -> None: ...

    desk = Desk(watched(), Silent(), Now)
    with desk.watch() as slow:
        for _ in range(20):
            await desk.beat()
        assert slow.qsize() == 5
        last: Beat = [slow.get_nowait() for _ in range(5)][-1]
        assert last.alone, "what cannot be read is no process"


def test_a_folder_is_private_and_forgets_the_dead(tmp_path: Path) -> None:
    board = FolderBoard(tmp_path / "live")
    asyncio.run(board.exchange("dead", b"{}", watching=True))
    path = tmp_path / "live" / "dead.pulse"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    os.utime(path, (time.time() - 60, time.time() - 60))
    assert asyncio.run(board.exchange("me", b'{"m":1}', watching=True)).pulses == [b'{"m":1}']
    assert not path.exists()


async def test_a_folder_that_cannot_be_written_is_silence(tmp_path: Path) -> None:
    (tmp_path / "live").write_text("a file is in its place")
    heard = await FolderBoard(tmp_path / "live").exchange("me", b"{}", watching=True)
    assert heard == (False, [])


def test_a_pulse_survives_its_way() -> None:
    book = watched()
    book.closed(record())
    pulse = book.tick(Now(breakers=[("openai", "gpt-4o", "open", 3.0)]))
    assert msgspec.json.decode(msgspec.json.encode(pulse), type=type(pulse)) == pulse
