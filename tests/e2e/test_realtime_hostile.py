"""Conversations with clients that mean no good, through whole gateways on both servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from tests.support.fake_realtime import say
from tests.support.realtime_gateway import MODEL, Gateway, event, realtime_gateway, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def shared(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with realtime_gateway(request.param) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    shared.reset()
    return shared


async def test_who_leaves_before_an_answer_is_counted_pays_for_it(gateway: Gateway) -> None:
    key = gateway.issue(team="hasty")

    async def slow(socket: ServerConnection) -> None:
        await say(socket, type="session.created")
        await socket.recv()
        await say(socket, type="response.created", response={"id": "resp_1"})
        await say(socket, type="response.output_audio.delta", delta="AAAA" * 1000)
        # Until it is cancelled it goes on.
        async for message in socket:
            gateway.fake.heard.append(message)
            if "response.cancel" in str(message):
                done = {"id": "resp_1", "status": "cancelled", "usage": gateway.fake.usage}
                await say(socket, type="response.done", response=done)

    gateway.fake.behave(slow)
    async with gateway.talk(key) as socket:
        await event(socket)
        await socket.send('{"type":"response.create"}')
        await event(socket)
        assert (await event(socket))["type"] == "response.output_audio.delta"
        socket.transport.abort()
    row: Any = await until(lambda: (found := gateway.ledger()) and found["team"] == "hasty" and found)
    assert (row["input_tokens"], row["output_tokens"]) == (20, 10)
    assert len(gateway.fake.heard) == 1


async def test_a_revoked_key_has_no_say_although_its_client_does_not_read(gateway: Gateway) -> None:
    key = gateway.issue(team="deaf")

    async def floods(socket: ServerConnection) -> None:
        await say(socket, type="session.created")

        async def hear() -> None:
            async for message in socket:
                gateway.fake.heard.append(message)

        async with asyncio.TaskGroup() as both:
            both.create_task(hear())
            while True:
                await socket.send("x" * 200_000)

    gateway.fake.behave(floods)
    async with gateway.talk(key, ping_interval=None, close_timeout=0.1) as socket:
        await event(socket)
        socket.transport.pause_reading()
        await asyncio.sleep(2)
        await asyncio.to_thread(gateway.served.manage, "keys", "revoke", key[:11])
        # Whatever the client does not take, the provider's side is over, and so is the line in the ledger.
        await until(lambda: gateway.fake.closes)
        row = await until(lambda: (found := gateway.ledger()) and found["team"] == "deaf" and found)
        assert (row["state"], row["code"]) == ("settled", "revoked_api_key")
        socket.transport.abort()


async def test_who_leaves_in_the_handshake_is_no_fault(gateway: Gateway) -> None:
    gateway.fake.handshake_seconds = 1.0
    head = (
        f"GET /v1/realtime?model={MODEL} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {gateway.key}\r\n"
        "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.served.port)
        writer.write(head.encode())
        await writer.drain()
        await until(lambda: gateway.fake.handshakes)
        writer.transport.abort()
        await until(lambda: gateway.fake.closes)
        gateway.reset()
        gateway.fake.handshake_seconds = 1.0
    assert '"level": "error"' not in gateway.served.output
    assert "failed" not in gateway.served.output, gateway.served.output[-3000:]
