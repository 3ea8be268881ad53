"""The trial of each test: a clean gateway before a clean provider, and nothing left of it at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.trial import Trial
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import Pair


@pytest.fixture
def trial(live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, stream: bool) -> Iterator[Trial]:
    """For the pair and the way that the test is parametrised by."""
    made = Trial(live, fake_upstream, pair, stream)
    yield made
    made.check_nothing_left()
