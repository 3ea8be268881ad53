"""Charts are drawings that any browser takes, whatever the figures and names are."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import pytest

from accounts.ledger.charts import Chart, Series, bars, columns, curves
from accounts.ledger.sums import BOUNDS, SPREAD
from accounts.ledger.usage import share

LABELS = ("a", "b", '<c>&"')


def drawn(chart: Chart) -> ET.Element:
    return ET.fromstring(chart.drawing)


def numbers(root: ET.Element, tag: str, name: str) -> list[float]:
    return [float(each.attrib[name]) for each in root.iter(tag)]


def test_columns_stand_on_each_other_in_proportion() -> None:
    chart = columns("T", LABELS, [Series("in", "one", (1, 2, 0)), Series("out", "two", (1, 0, 4))], str)
    root = drawn(chart)
    heights = numbers(root, "rect", "height")
    assert [round(height / heights[0], 1) for height in heights] == [1, 1, 2, 4]
    ends = [y + h for y, h in zip(numbers(root, "rect", "y"), heights, strict=True)]
    assert ends[0] - heights[0] == pytest.approx(ends[1])
    assert [each.text for each in root.iter("title")] == [
        "a: in 1, out 1", "b: in 2, out 0", '<c>&": in 0, out 4',
    ]  # fmt: skip
    assert chart.rows[2] == ('<c>&"', "0", "4")


@pytest.mark.parametrize(
    "values",
    [(), (0,), (None,), (None, 1.0, None, 2.0, 3.0), (math.inf, 5.0), (1e15, 1.0), (math.inf,)],
    ids=str,
)
def test_curves_of_anything(values: Sequence[float | None]) -> None:
    labels = [str(place) for place in range(len(values))]
    root = drawn(curves("T", labels, [Series("s", "one", values)], str))
    places = numbers(root, "circle", "cy")
    assert len(places) == len([value for value in values if value is not None])
    assert all(18 <= place <= 166 for place in places)


def test_a_curve_has_a_gap_where_nothing_is_known() -> None:
    root = drawn(curves("T", "abcde", [Series("s", "one", (1, 2, None, 3, 4))], str))
    assert [len(line.attrib["points"].split()) for line in root.iter("polyline")] == [2, 2]


@pytest.mark.parametrize("values", [(), (0, 0, 0), (3, 1.5, None)], ids=str)
def test_bars_of_anything(values: Sequence[float | None]) -> None:
    labels = LABELS[: len(values)]
    widths = numbers(drawn(bars("T", labels, Series("s", "one", values), str)), "rect", "width")
    assert len(widths) == len(values)
    if any(values):
        assert [round(width / widths[0], 2) for width in widths] == [1, 0.5, 0]


def spread(**counts: int) -> list[int]:
    return [counts.get(name, 0) for name in SPREAD]


@pytest.mark.parametrize(
    ("counts", "part", "milliseconds"),
    [
        (spread(), 0.5, None),
        (spread(ok_50=10), 0.5, 25),
        (spread(ok_50=10), 1.0, 50),
        (spread(ok_100=2, ok_1000=2), 0.5, 100),
        (spread(ok_100=2, ok_1000=2), 0.95, 975),
        (spread(ok_100=1, ok_more=1), 0.95, math.inf),
    ],
)
def test_a_share_of_calls_took_at_most(counts: list[int], part: float, milliseconds: float | None) -> None:
    assert share(counts, part) == (None if milliseconds is None else pytest.approx(milliseconds))


@pytest.mark.parametrize("seed", range(5))
def test_a_share_lies_between_the_bounds_that_it_lies_between(seed: int) -> None:
    """Against what sorting all of them says, of times as models take them."""
    dice = random.Random(seed)
    times = sorted(dice.lognormvariate(7 + seed / 2, 1.0) for _ in range(2_000))
    counts = [0] * len(SPREAD)
    for time in times:
        counts[bisect_left(BOUNDS, time)] += 1
    for part in (0.5, 0.95):
        told, exact = share(counts, part), times[int(part * len(times)) - 1]
        assert told is not None
        place = bisect_left(BOUNDS, exact)
        assert (0, *BOUNDS)[place] < told <= (*BOUNDS, math.inf)[place]
