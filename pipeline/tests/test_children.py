"""The histogram that searches counts as the library's own does."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from pipeline.children import Children, SearchedHistogram

BOUNDS = (0.1, 1.0, 10.0)


@pytest.mark.parametrize(
    "amount", [-1.0, 0.0, 0.1, 0.100001, 1.0, 5, 10.0, 10.5, float("inf")], ids=lambda amount: f"{amount:g}"
)
def test_it_counts_as_the_librarys_own(amount: float) -> None:
    pages = []
    for kind in (Histogram, SearchedHistogram):
        registry = CollectorRegistry()
        made = kind("taken", "How long.", ("surface",), buckets=BOUNDS, registry=registry)
        made.labels("chat").observe(amount)
        page = generate_latest(registry).decode().splitlines()
        pages.append([line for line in page if "_created" not in line])
    assert pages[0] == pages[1]
    assert any("taken_bucket" in line for line in pages[1])


def test_children_are_asked_for_once() -> None:
    children = Children(SearchedHistogram("taken", "How long.", ("surface",), registry=CollectorRegistry()))
    assert children.labels("chat") is children.labels("chat")
    assert children.labels("chat") is not children.labels("messages")
