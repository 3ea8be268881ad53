"""WebSockets to providers that mean no good."""

from __future__ import annotations

import asyncio
from socket import SO_RCVBUF, SOL_SOCKET

from websockets.asyncio.server import ServerConnection

from providers.socket_wire import PooledSockets, ProviderSocket
from providers.transport import PooledTransport
from providers.wire import UpstreamRequest
from tests.support.fake_realtime import FakeRealtime

_PIECE = b"x" * (8 << 20)
_KERNEL = 1 << 20


async def test_a_provider_that_floods_waits() -> None:
    sent: list[int] = []
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def floods(socket: ServerConnection) -> None:
        try:
            while len(sent) < 12:
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
        # Some systems let the kernel itself take more than is asked about here.
        wire = socket._connection.transport.get_extra_info("socket")
        wire.setsockopt(SOL_SOCKET, SO_RCVBUF, _KERNEL)
        async with asyncio.timeout(60):
            await stopped.wait()
        assert len(sent) < 7, "what nobody has read yet does not pile up here"
        assert await socket.receive() == _PIECE
        await socket.close()
    await pooled.aclose()
