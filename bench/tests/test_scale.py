"""The capacity model: it agrees with queueing theory, grows with the load, and prints its tables."""

from __future__ import annotations

import random

import pytest

from bench.scale import LOADS, Costs, Load, main, quantile, report, size, waits


@pytest.mark.parametrize("full", [0.3, 0.6, 0.8])
def test_waits_are_those_of_the_theory(full: float) -> None:
    """Of one server with jobs of one length (M/D/1) the mean wait is known."""
    found = waits(full, 400.0, 200_000, random.Random(7))
    assert sum(found) / len(found) == pytest.approx(full / (2 * (1 - full)) * 400.0, rel=0.1)
    assert min(found) == 0.0


def test_twice_the_load_takes_twice_as_much() -> None:
    one, two = (size(Load(n * 10_000, n * 100_000), Costs(), 0.6) for n in (1, 2))
    assert two.cores == pytest.approx(2 * one.cores, abs=1)
    assert (two.redis, two.postgres, two.rows) == (2 * one.redis, 2 * one.postgres, 2 * one.rows)
    assert two.memory == pytest.approx(one.memory, rel=0.02)


def test_a_core_serves_what_it_was_measured_to_serve() -> None:
    costs = Costs(request_us=500.0)
    assert size(Load(2000, 0), costs, 1.0).cores == 1
    assert size(Load(2001, 0), costs, 1.0).cores == 2
    assert size(Load(0, 1000, pace=100), Costs(chunk_us=30.0), 1.0).cores == 3


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    lines = list(report(LOADS, Costs(), 0.6, jobs=2000))
    assert len([line for line in lines if line.startswith("| 100,000 |")]) == 1
    assert main(["--requests", "10", "--streams", "5"]) == 0
    assert "| 10 | 5 |" in capsys.readouterr().out
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
