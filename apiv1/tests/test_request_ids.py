"""The ids that the gateway gives to requests."""

from __future__ import annotations

import time

from apiv1.inbound import new_request_id


def test_a_later_id_is_greater_so_that_new_ones_lie_together_in_an_index() -> None:
    ids = []
    for _ in range(5):
        ids.append(new_request_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    assert {len(name) for name in ids} == {28}


def test_no_two_are_alike() -> None:
    assert len({new_request_id() for _ in range(10_000)}) == 10_000
