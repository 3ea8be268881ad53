"""The short form of every case: that it runs, and that nothing is wrong. Speed is judged by nobody here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

import pytest
import uvloop

from soak.__main__ import CHAOS, ROLLING, SOAK, Case
from soak.figures import Figure, markdown, must, speed
from soak.sizes import SHORT
from soak.stage import Stage, stage, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def alone() -> Iterator[Stage]:
    """One gateway."""
    with stage() as on:
        yield on


@pytest.fixture(scope="module")
def replicas() -> Iterator[Stage]:
    """Two gateways with one Redis and one PostgreSQL."""
    with stage(2, services=True) as on:
        yield on


@pytest.fixture(scope="module")
def workers() -> Iterator[Stage]:
    """A gateway of two workers."""
    with stage(services=True, WORKERS="2") as on:
        yield on


def right(cases: Mapping[str, Case], name: str, on: Stage) -> None:
    async def run() -> list[Figure]:
        await until(on.well)
        return await cases[name](on, SHORT)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(run())
    judged = [figure for figure in figures if figure.right is not None]
    assert judged
    assert [figure for figure in judged if not figure.right] == []


@pytest.mark.parametrize("name", SOAK)
def test_load_on_one_gateway(alone: Stage, name: str) -> None:
    right(SOAK, name, alone)


@pytest.mark.parametrize("name", CHAOS)
@pytest.mark.valkey
@pytest.mark.postgres
def test_dependencies_that_go_away(replicas: Stage, name: str) -> None:
    right(CHAOS, name, replicas)


@pytest.mark.parametrize("name", ROLLING)
@pytest.mark.valkey
@pytest.mark.postgres
def test_workers_that_go_away(workers: Stage, name: str) -> None:
    right(ROLLING, name, workers)


def test_the_table_says_what_is_wrong() -> None:
    table = markdown(
        [
            must("L1", "faults", "0", 3, holds=False),
            speed("L2", "a", "b", "c", holds=True),
            speed("L3", "a", "b", "c"),
        ]
    )
    assert "| L1 | faults | 0 | 3 | **WRONG** |" in table
    assert "| L2 | a | b | c | held |" in table
    assert "| L3 | a | b | c |  |" in table
