"""A short name for what nearly every test of this folder needs."""

from __future__ import annotations

import pytest

from tests.support.fake_upstream import FakeUpstream


@pytest.fixture
def fake(fake_upstream: FakeUpstream) -> FakeUpstream:
    return fake_upstream
