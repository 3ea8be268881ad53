"""The tests' fixture of the fake upstream, loaded by conftest's `pytest_plugins`; services' own fixtures
are beside."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_upstream import FakeUpstream


@pytest.fixture(scope="session")
def fake_upstream_server() -> Iterator[FakeUpstream]:
    """One server for the whole session; ask for `fake_upstream` instead."""
    fake = FakeUpstream().start()
    yield fake
    fake.stop()


@pytest.fixture
def fake_upstream(fake_upstream_server: FakeUpstream) -> Iterator[FakeUpstream]:
    """The fake of the three providers, with nothing recorded, scripted or remembered."""
    fake_upstream_server.reset()
    yield fake_upstream_server
    assert not fake_upstream_server.failures
    fake_upstream_server.reset()
