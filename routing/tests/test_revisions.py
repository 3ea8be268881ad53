"""Revisions: numbered without a gap, seen in their order, and only together with their change."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections, transaction

from providers.models import Provider
from routing.models import Revision
from routing.revisions import hold, latest, publish


@pytest.mark.django_db
def test_numbers_count_up_from_one() -> None:
    assert latest() == 0
    assert [publish("a", "b") for _ in range(3)] == [1, 2, 3]
    assert latest() == 3


@pytest.mark.django_db
def test_long_words_are_cut_to_the_column() -> None:
    publish("a" * 1000, "b" * 1000, [{"object": "x", "action": "added", "fields": {}}])
    row = Revision.objects.get(number=1)
    assert (len(row.author), len(row.reason), row.summary[0]["object"]) == (150, 500, "x")


@pytest.mark.usefixtures("database")
def test_a_change_that_is_taken_back_takes_its_revision_along() -> None:
    with transaction.atomic():
        assert publish("a", "b") == 1
        transaction.set_rollback(True)
    assert latest() == 0


@pytest.mark.usefixtures("database")
def test_publications_at_once_wait_for_each_other() -> None:
    line = threading.Barrier(6)

    def one(number: int) -> int:
        line.wait()
        try:
            with transaction.atomic():
                hold()
                Provider.objects.create(name=f"p{number}", kind="ollama")
                return publish("a", "b")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        numbers = list(pool.map(one, range(6)))
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]
    assert Provider.objects.count() == 6


@pytest.mark.postgres
@pytest.mark.usefixtures("postgres")
def test_a_number_is_seen_only_after_all_before_it() -> None:
    """Whoever has seen number N has seen every change up to it, also when N-1 took longer."""
    began, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        try:
            with transaction.atomic():
                publish("slow", "first")
                began.set()
                go_on.wait(10)
        finally:
            connections.close_all()

    def quick() -> int:
        try:
            return publish("quick", "second")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(slow)
        assert began.wait(10)
        second = pool.submit(quick)
        assert latest() == 0
        go_on.set()
        first.result(10)
        assert second.result(10) == 2
    assert list(Revision.objects.filter(number__gt=0).values_list("author", flat=True)) == ["quick", "slow"]
