"""The client sees what is wrong with an answer: a judge that sees nothing would find everything right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from bench.marks import Order
from soak.client import Ask, Seen, call, for_a_while, quantile, together
from soak.figures import must
from soak.replicas import _most_in_a_minute
from soak.stage import Provider, until
from soak.streams import faults


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """The upstream itself, asked without a gateway."""
    with closing(Provider()) as running:
        yield running


async def test_good_answers(provider: Provider) -> None:
    for ask in (Ask(), Ask(stream=False), Ask(chunks=3, rate=100), Ask(chunks=4, fault="bytes")):
        seen = await call(provider.port, "key", ask)
        assert seen.good
        assert seen.began <= seen.first <= seen.ended
    assert provider.seen()["whole"] == 4


@pytest.mark.parametrize("fault", ["cut", "reset"])
async def test_a_broken_answer_is_seen(provider: Provider, fault: str) -> None:
    seen = await call(provider.port, "key", Ask(chunks=6, fault=fault))
    assert seen.broken
    assert not seen.good
    assert faults([seen])["broken"] == 1


async def test_a_refusal_without_when_to_come_again_is_a_fault(provider: Provider) -> None:
    seen = await call(provider.port, "key", Ask(stream=False, fault="busy"))
    assert (seen.status, seen.refused) == (503, False)
    assert faults([seen]) == {"status 503": 1}
    again = Seen(Order(1), status=429, headers={"retry-after": "1"})
    assert again.refused
    assert not faults([again])


async def test_the_provider_can_be_told_to_refuse_all(provider: Provider) -> None:
    provider.answer(503)
    assert (await call(provider.port, "key", Ask())).status == 503
    provider.answer(0)
    assert (await call(provider.port, "key", Ask())).good


async def test_nobody_there_is_no_answer() -> None:
    assert (await call(1, "key", Ask())).broken


async def test_many_at_once(provider: Provider) -> None:
    assert len(await together(3, 2, lambda: call(provider.port, "key", Ask()))) == 6
    assert await for_a_while(2, 0.2, lambda: call(provider.port, "key", Ask(stream=False)))


async def test_waiting_in_vain_takes_for_ever() -> None:
    assert await until(lambda: False, 0.05) == float("inf")
    assert await until(lambda: True) < 1


def test_the_fullest_minute() -> None:
    assert _most_in_a_minute([]) == 0
    assert _most_in_a_minute([0, 1, 59, 60.5, 61, 119]) == 3


def test_figures() -> None:
    assert quantile([0.001, 0.002, 0.1], 0.5) == 2
    assert must("L1", "a", "b", 0, holds=True).verdict == "right"
