"""WebSockets to providers that mean no good."""

from __future__ import annotations

import asyncio

from websockets.asyncio.server import ServerConnection

from providers.socket_wire import PooledSockets, ProviderSocket
from providers.transport import PooledTransport
from providers.wire import UpstreamRequest
from tests.support.fake_realtime import FakeRealtime

_PIECE = b"x" * (8 << 20)
# What may lie between the two: the kernel's buffers (its usual greatest are 32 MiB to read and 4 MiB to
# write), two messages that wait to be read, and the pieces of one or two more.
_BETWEEN = 10


async def test_a_provider_that_floods_waits() -> None:
    sent: list[int] = []
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def floods(socket: ServerConnection) -> None:
        try:
            while len(sent) < 3 * _BETWEEN:
                async with asyncio.timeout(3):
                    await socket.send(_PIECE)
                sent.append(len(_PIECE))
        except TimeoutError:
            pass
        finally:
            loop.call_soon_threadsafe(stopped.set)

    pooled = PooledTransport()
    with FakeRealtime() as fake:
        fake.behave(floods)
        url = f"{fake.url}/realtime?model=m"
        request = UpstreamRequest(
            "GET", url, {}, b"", connect=5.0, first_byte=5.0, idle=5.0, allow_private=True
        )
        socket = await PooledSockets(pooled.pool).open(request)
        assert isinstance(socket, ProviderSocket)
        async with asyncio.timeout(60):
            await stopped.wait()
        assert len(sent) <= _BETWEEN, "what nobody has read yet does not pile up here"
        assert await socket.receive() == _PIECE
        await socket.close()
    await pooled.aclose()
