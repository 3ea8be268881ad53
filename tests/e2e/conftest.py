"""One set of SDK clients for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.sdks import Sdks, Stage
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway


@pytest.fixture(scope="session")
def session_sdks(session_gateway: LiveGateway) -> Iterator[Sdks]:
    """The clients of the session's gateway; ask for `stage` instead."""
    with Sdks(session_gateway.url, session_gateway.key) as sdks:
        yield sdks


@pytest.fixture
def stage(session_sdks: Sdks, live: LiveGateway, fake_upstream: FakeUpstream) -> Stage:
    """The SDKs in front of a clean gateway in front of a clean upstream."""
    return Stage(session_sdks, live, fake_upstream)
