"""What every store of counters promises: the same tests on memory and on a real Valkey."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.memory import Clocks, MemoryStore, Window
from pipeline.redis_store import RedisStore, Reports
from pipeline.stores import Ask, Demand, Store, Verdict
from pipeline.tests.patient_redis import wait_for_answers
from tests.support.redis_sets import EACH_FORM, FORMS

# Long enough that no test sees a part of it end.
DAY = 86_400
_numbers = count()
_runs = f"{time.time_ns():x}"


def silent() -> Reports:
    return Reports(lambda _: None, lambda: None, lambda _: None, lambda: None)


def unique(name: str) -> str:
    """A key of this test alone, for servers that tests share."""
    return f"{{t}}:{name}:{_runs}:{next(_numbers)}"


def requests(limit: int, key: str, amount: int = 1) -> Ask:
    return Ask("window", key, limit, amount, DAY)


def places(limit: int, key: str) -> Ask:
    return Ask("lease", key, limit)


def money(limit: int, key: str, amount: int, *, hard: bool = True) -> Ask:
    return Ask("meter", key, limit, amount, hard=hard)


def demand(*asks: Ask) -> Demand:
    return Demand(f"req_{_runs}_{next(_numbers)}", "t", asks)


class Metered(dict[str, int]):
    """How meters stand, as a store told it."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = asyncio.Event()

    def hear(self, used: Mapping[str, int]) -> None:
        self.update(used)
        self._heard.set()

    async def told(self, key: str, value: int) -> None:
        """Wait until a settlement has said so."""
        async with asyncio.timeout(10):
            while self.get(key) != value:
                self._heard.clear()
                await self._heard.wait()


class Watched:
    """A store and what it told of meters."""

    def __init__(self, store: Store, metered: Metered) -> None:
        self.store = store
        self.metered = metered

    async def take(self, *asks: Ask) -> Verdict:
        return await self.store.decide(demand(*asks))


@pytest.fixture(params=["memory", *EACH_FORM])
async def watched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    metered = Metered()
    store: Store
    if request.param == "memory":
        store = MemoryStore(watch=metered.hear)
    else:
        url = request.getfixturevalue(FORMS[request.param])
        wait_for_answers(monkeypatch)
        store = RedisStore(url, MemoryStore(watch=metered.hear), metered.hear, silent())
    await store.start()
    assert not store.degraded
    yield Watched(store, metered)
    await store.stop()


async def test_a_window_lets_through_its_limit_and_no_more(watched: Watched) -> None:
    key = unique("rpm")
    verdicts = [await watched.take(requests(3, key)) for _ in range(5)]
    assert [verdict.admitted for verdict in verdicts] == [True, True, True, False, False]
    assert [verdict.levels[0].used for verdict in verdicts] == [1, 2, 3, 3, 3]
    assert verdicts[0].levels[0].wait == 0
    # The part in which they came ends within a sixtieth of the window, and then the window passes.
    for verdict in verdicts[3:]:
        assert DAY < verdict.levels[0].wait <= DAY * 61 / 60
        assert DAY < verdict.levels[0].reset <= DAY * 61 / 60


async def test_who_only_looks_takes_nothing(watched: Watched) -> None:
    asks = requests(3, unique("rpm"), 2), places(1, unique("at once")), money(100, unique("budget"), 60)
    assert await watched.store.look(asks) == [0, 0, None]
    await watched.store.seed(asks[2].key, 10, None)
    for _ in range(3):
        assert await watched.store.look(asks) == [0, 0, 10]
    assert (await watched.take(*asks)).admitted
    for _ in range(3):
        assert await watched.store.look(asks) == [2, 1, 70]


async def test_callers_at_once_share_one_limit(watched: Watched) -> None:
    key = unique("rpm")
    verdicts = await asyncio.gather(*(watched.take(requests(100, key)) for _ in range(300)))
    assert sum(verdict.admitted for verdict in verdicts) == 100


async def test_what_one_counter_refuses_burns_no_other(watched: Watched) -> None:
    rpm, tpm, slots, budget = map(unique, ("rpm", "tpm", "slots", "budget"))
    await watched.store.seed(budget, 0, None)
    asks = (
        requests(10, rpm),
        requests(100, tpm, amount=60),
        places(5, slots),
        money(1000, budget, 10),
    )
    assert (await watched.take(*asks)).admitted
    refused = await watched.take(*asks)
    assert not refused.admitted
    assert [level.used for level in refused.levels] == [1, 60, 1, 10]
    assert [level.wait > 0 for level in refused.levels] == [False, True, False, False]


async def test_more_than_the_limit_never_fits(watched: Watched) -> None:
    verdict = await watched.take(requests(100, unique("tpm"), amount=101))
    assert not verdict.admitted
    assert verdict.levels[0].wait == math.inf


@pytest.mark.parametrize("ask", [requests, places])
async def test_a_limit_of_0_lets_nothing_through(watched: Watched, ask: Callable[[int, str], Ask]) -> None:
    assert not (await watched.take(ask(0, unique("closed")))).admitted


async def test_a_settlement_gives_back_what_was_not_used(watched: Watched) -> None:
    key = unique("tpm")
    first = demand(requests(100, key, amount=90))
    verdict = await watched.store.decide(first)
    assert verdict.admitted
    assert not (await watched.take(requests(100, key, amount=50))).admitted
    watched.store.settle(first, verdict, (30,))
    watched.store.settle(first, verdict, (30,))
    after = await watched.take(requests(100, key, amount=50))
    assert after.admitted
    assert after.levels[0].used == 80


async def test_a_settlement_charges_what_was_used_beyond_the_reservation(watched: Watched) -> None:
    key = unique("tpm")
    first = demand(requests(100, key, amount=10))
    watched.store.settle(first, await watched.store.decide(first), (150,))
    after = await watched.take(requests(100, key, amount=1))
    assert not after.admitted
    assert after.levels[0].used == 150


async def test_places_are_given_back_before_the_next_call_asks(watched: Watched) -> None:
    key = unique("slots")
    for _ in range(20):
        one = demand(places(1, key))
        verdict = await watched.store.decide(one)
        assert verdict.admitted
        assert not (await watched.take(places(1, key))).admitted
        watched.store.settle(one, verdict, (0,))


async def test_a_meter_that_nobody_knows_is_asked_for_first(watched: Watched) -> None:
    budget, rpm = unique("budget"), unique("rpm")
    asks = (requests(5, rpm), money(100, budget, 10))
    unknown = await watched.take(*asks)
    assert not unknown.admitted
    assert unknown.missing == (budget,)
    await watched.store.seed(budget, 85, 3600)
    await watched.store.seed(budget, 0, 3600)
    assert (await watched.take(*asks)).levels[1].used == 95
    refused = await watched.take(*asks)
    assert not refused.admitted
    assert refused.levels[1].wait == math.inf
    # Neither the unknown nor the refused one was counted as a request.
    assert refused.levels[0].used == 1


async def test_a_soft_budget_counts_and_refuses_nothing(watched: Watched) -> None:
    budget = unique("budget")
    await watched.store.seed(budget, 0, None)
    one = demand(money(100, budget, 150, hard=False))
    verdict = await watched.store.decide(one)
    assert verdict.admitted
    watched.store.settle(one, verdict, (140,))
    await watched.metered.told(budget, 140)


async def test_a_settlement_counts_once(watched: Watched) -> None:
    budget = unique("budget")
    await watched.store.seed(budget, 0, None)
    one = demand(money(1000, budget, 100))
    verdict = await watched.store.decide(one)
    for _ in range(3):
        watched.store.settle(one, verdict, (40,))
    await watched.metered.told(budget, 40)
    assert (await watched.take(money(1000, budget, 0))).levels[0].used == 40


async def test_money_beyond_32_bits_is_exact(watched: Watched) -> None:
    budget = unique("budget")
    limit = 9_000_000 * 10**9
    await watched.store.seed(budget, limit - 7, None)
    assert not (await watched.take(money(limit, budget, 8))).admitted
    one = demand(money(limit, budget, 7))
    verdict = await watched.store.decide(one)
    assert verdict.levels[0].used == limit
    watched.store.settle(one, verdict, (3,))
    await watched.metered.told(budget, limit - 4)


async def test_a_key_is_said_first_once(watched: Watched) -> None:
    key = unique("notice")
    assert [await watched.store.first(key, 3600) for _ in range(3)] == [True, False, False]


async def test_the_time_is_about_now(watched: Watched) -> None:
    await watched.take(requests(1, unique("rpm")))
    assert abs(watched.store.now() - time.time()) < 60


# -- what only a clock that is handed in can show


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time

    @property
    def clocks(self) -> Clocks:
        return Clocks(self, self)


def at(clock: Clock, times: Iterable[float], take: Callable[[], Verdict]) -> list[float]:
    """The times at which `take` was let in."""
    admitted = []
    for moment in times:
        clock.time = moment
        if take().admitted:
            admitted.append(moment)
    return admitted


@given(
    st.lists(st.floats(0, 400, allow_nan=False), max_size=200).map(sorted),
    st.integers(1, 20),
)
def test_no_window_ever_holds_more_than_the_limit(times: list[float], limit: int) -> None:
    """In any sixty seconds, wherever they begin: not only in a minute of the clock."""
    clock = Clock()
    store = MemoryStore(clocks=clock.clocks)
    ask = Ask("window", "k", limit, 1, 60)
    admitted = at(clock, times, lambda: store.decide_now(demand(ask)))
    for begin in admitted:
        assert sum(begin <= moment < begin + 60 for moment in admitted) <= limit


def test_room_comes_back_when_it_was_promised() -> None:
    clock = Clock()
    store = MemoryStore(clocks=clock.clocks)
    ask = Ask("window", "k", 2, 1, 60)
    for moment in (0.2, 30.9):
        clock.time = moment
        assert store.decide_now(demand(ask)).admitted
    clock.time = 31.5
    wait = store.decide_now(demand(ask)).levels[0].wait
    assert wait == pytest.approx(61 - 31.5)
    clock.time = 31.5 + wait - 0.001
    assert not store.decide_now(demand(ask)).admitted
    clock.time = 31.5 + wait
    assert store.decide_now(demand(ask)).admitted


def test_a_share_is_at_least_one() -> None:
    store = MemoryStore(share=8)
    ask = Ask("window", "k", 3, 1, 60)
    assert [store.decide_now(demand(ask)).admitted for _ in range(3)] == [True, False, False]
    wide = Ask("window", "w", 100, 1, 60)
    admitted = [store.decide_now(demand(wide)) for _ in range(20)]
    assert sum(verdict.admitted for verdict in admitted) == 12
    # What the others have is not free here.
    assert 100 - admitted[0].levels[0].used == 11


def test_windows_of_limits_that_nobody_uses_are_dropped() -> None:
    clock = Clock()
    store = MemoryStore(clocks=clock.clocks)
    for number in range(5000):
        clock.time += 1
        store.decide_now(demand(Ask("window", f"k{number}", 5, 1, 60)))
    assert len(store._windows) < 2100


def test_a_window_takes_little_memory_however_much_it_counts() -> None:
    window = Window(60)
    for number in range(100_000):
        window.add(1, number / 1000)
        window.trim(number / 1000)
    assert len(window._parts) <= 61
    assert window.total > 59_000


def test_what_is_taken_back_late_goes_below_nothing() -> None:
    window = Window(60)
    window.add(5, 0.5)
    window.trim(100)
    window.take_back(5, 0.5)
    assert window.total == 0
    window.add(5, 100)
    window.take_back(50, 100)
    assert window.total == 0


async def test_a_budget_that_was_begun_by_a_guess_is_not_spent_again_when_its_time_is_over() -> None:
    """The ledger is away for long: each guess says that nothing is spent."""
    clock = Clock()
    store = MemoryStore(clocks=clock.clocks)
    ask = Ask("meter", "b", 100, 40)
    admitted = 0
    for number in range(10):
        await store.seed(f"of another {number}", 0, 30)
        verdict = store.decide_now(demand(ask))
        if verdict.missing:
            await store.seed("b", 0, 30)
            verdict = store.decide_now(demand(ask))
        admitted += verdict.admitted
        clock.time += 31
    assert admitted == 2
    # It is back, and knows of more than this process has seen.
    await store.seed("b", 95, None)
    assert not store.decide_now(demand(Ask("meter", "b", 100, 6))).admitted
    assert store.decide_now(demand(Ask("meter", "b", 100, 5))).admitted
