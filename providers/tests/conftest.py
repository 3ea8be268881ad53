"""The transport is tested on both event loops that the gateway may run on, against the scripted upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import pytest_asyncio
import uvloop

from providers.transport import HttpTransport, PooledTransport
from tests.support.fake_upstream import FakeUpstream

Loops = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Loops:
    """Daphne's loop and uvicorn's; they differ in how a connection breaks and in who is told when."""
    loops: Loops = {"asyncio": asyncio.new_event_loop}
    return (
        {**loops, "uvloop": uvloop.new_event_loop} if item.path.name.startswith("test_transport") else loops
    )


@pytest.fixture(scope="module")
def upstream_server() -> Iterator[FakeUpstream]:
    """One server for a file; ask for `upstream` instead."""
    fake = FakeUpstream().start()
    yield fake
    fake.stop()


@pytest.fixture
def upstream(upstream_server: FakeUpstream) -> Iterator[FakeUpstream]:
    """A scripted upstream with nothing scripted and nothing recorded."""
    upstream_server.reset()
    yield upstream_server
    assert not upstream_server.failures


@pytest_asyncio.fixture
async def inner() -> AsyncIterator[PooledTransport]:
    """What stands behind `transport`, for a look at its connections."""
    made = PooledTransport()
    yield made
    await made.aclose()


@pytest_asyncio.fixture
async def transport(inner: PooledTransport) -> HttpTransport:
    """The transport under test, closed afterwards."""
    return HttpTransport(inner)
