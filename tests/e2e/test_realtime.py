"""Conversations with a realtime model through whole gateways, on both servers: OpenAI's SDK on one side, a
fake of its provider on the other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from openai import AsyncOpenAI
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.support.fake_realtime import FakeRealtime, say
from tests.support.realtime_gateway import MODEL, Gateway, event, realtime_gateway, until
from tests.support.served import Served

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def shared(kind: str) -> Iterator[Gateway]:
    with realtime_gateway(kind) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared: Gateway) -> Gateway:
    shared.reset()
    return shared


async def refusal(gateway: Gateway, **how: Any) -> tuple[int, dict[str, Any]]:
    """How a handshake is refused: the status, and the error. A server that cannot answer it with a status
    says it in an event."""
    try:
        async with gateway.talk(**how) as socket:
            said = await event(socket)
            assert said["type"] == "error"
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), 20)
            assert closed.value.rcvd is not None
            return closed.value.rcvd.code - 4000, said["error"]
    except InvalidStatus as error:
        assert gateway.kind == "uvicorn"
        body = json.loads(bytes(error.response.body or b"{}"))
        return error.response.status_code, body["error"]


async def test_the_sdk_holds_a_conversation(gateway: Gateway) -> None:
    client = AsyncOpenAI(api_key=gateway.key, base_url=gateway.served.url + "/v1")
    async with client.realtime.connect(model=MODEL) as connection:
        assert (await connection.recv()).type == "session.created"
        await connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
        assert (await connection.recv()).type == "session.updated"
        for _ in range(2):
            await connection.response.create()
            kinds = [(await connection.recv()).type for _ in range(3)]
            assert kinds == ["response.created", "response.output_text.delta", "response.done"]
    await client.close()
    path, headers = gateway.fake.handshakes[0]
    assert path == f"/v1/realtime?model={MODEL}"
    assert headers["authorization"] == "Bearer sk-openai-0123456789"
    assert gateway.key not in str(gateway.fake.handshakes)
    row = await until(lambda: (found := gateway.ledger()) and found["output_tokens"] and found)
    assert (row["input_tokens"], row["output_tokens"], row["cache_read"]) == (40, 20, 16)
    assert (row["state"], row["outcome"], row["status"]) == ("settled", "ok", 101)
    assert (row["provider"], row["usage_source"], row["team"]) == ("openai", "provider", "crew")
    assert gateway.fake.closes == [1000]


async def test_messages_are_not_touched(gateway: Gateway) -> None:
    strange = '{ "type":"session.update",  "session":{"x":1.50,"\\u00e9":"\\ud83d"}, "vendor": [1] }'
    async with gateway.talk() as socket:
        await event(socket)
        await socket.send(strange)
        await event(socket)
        assert gateway.fake.heard[0] == strange
        await socket.send(["{", '"type":"session.update"', "", ', "session":{}', "}"])
        await event(socket)
        assert gateway.fake.heard[1] == '{"type":"session.update", "session":{}}', "pieces arrive as one"
        blob = bytes(range(256)) * 40_000
        await socket.send(blob)
        assert await socket.recv() == blob


async def test_a_key_among_the_protocols(gateway: Gateway) -> None:
    protocols: Any = ["realtime", f"openai-insecure-api-key.{gateway.key}", "openai-beta.realtime-v1"]
    async with connect(f"{gateway.address}?model={MODEL}", subprotocols=protocols) as socket:
        assert socket.subprotocol == "realtime"
        assert (await event(socket))["type"] == "session.created"
    assert gateway.key not in str(gateway.fake.handshakes)
    assert gateway.key not in gateway.served.output


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ({"key": "gw-unknown"}, 401, "invalid_api_key"),
        ({"query": ""}, 400, None),
        ({"query": "?model="}, 400, None),
        ({"query": f"?model={MODEL}&api_key=canary-in-a-query"}, 400, "key_in_url"),
        ({"query": "?model=sandbox"}, 400, "model_not_found"),
        ({"query": f"?model={MODEL}&call_id=rtc_of_another_team"}, 400, None),
        ({"query": f"?model={MODEL}&deployment=another-model"}, 400, None),
        ({"headers": {"Origin": "https://evil.example"}}, 403, "origin_not_allowed"),
        ({"query": "?model=" + "m" * 5000}, 400, None),
    ],
)
async def test_what_is_refused_at_the_handshake(
    gateway: Gateway, how: dict[str, Any], status: int, code: str | None
) -> None:
    found, error = await refusal(gateway, **how)
    assert found == status
    assert code in (None, error["code"])
    assert error["message"]
    assert gateway.fake.handshakes == []
    assert "canary-in-a-query" not in gateway.served.output


async def test_a_key_that_may_not_use_the_model(gateway: Gateway) -> None:
    key = gateway.issue("--models", "gpt-4o*")
    assert (await refusal(gateway, key=key))[1]["code"] == "model_not_allowed"


async def test_a_providers_refusal_is_told(gateway: Gateway) -> None:
    said = {"message": "No such voice.", "type": "invalid_request_error", "code": "bad_voice"}
    gateway.fake.refuse(400, {"error": said})
    status, error = await refusal(gateway)
    assert (status, error["message"]) == (400, "No such voice.")
    gateway.fake.refuse(302)
    status, error = await refusal(gateway)
    assert (status, error["code"]) == (502, "upstream_redirect")


async def test_a_provider_that_breaks_off(gateway: Gateway) -> None:
    async def breaks(socket: ServerConnection) -> None:
        await say(socket, type="session.created")
        await gateway.fake.respond(socket)
        socket.transport.abort()

    gateway.fake.behave(breaks)
    async with gateway.talk() as socket:
        for _ in range(4):
            await event(socket)
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
    row = await until(lambda: (found := gateway.ledger()) and found["code"] == "upstream_closed" and found)
    assert (row["outcome"], row["output_tokens"]) == ("error", 10), "what was counted is charged"


async def test_a_providers_own_goodbye_is_passed_on(gateway: Gateway) -> None:
    async def expires(socket: ServerConnection) -> None:
        await socket.close(4001, "session_expired")

    gateway.fake.behave(expires)
    async with gateway.talk() as socket:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 20)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "session_expired")


async def test_a_client_that_vanishes_takes_the_conversation_with_it(gateway: Gateway) -> None:
    async with gateway.talk() as socket:
        await event(socket)
        socket.transport.abort()
    await until(lambda: gateway.fake.closes)


async def test_a_revoked_key_ends_its_conversations(gateway: Gateway) -> None:
    key = gateway.issue()
    async with gateway.talk(key) as socket, gateway.talk() as other:
        await event(socket)
        await event(other)
        await asyncio.to_thread(gateway.served.manage, "keys", "revoke", key[:11])
        said = await event(socket)
        assert said["error"]["code"] == "revoked_api_key"
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        await other.send('{"type":"response.create"}')
        assert (await event(other))["type"] == "response.created"


async def test_a_concurrency_limit_holds_for_open_conversations(gateway: Gateway) -> None:
    key = gateway.issue(team="narrow")
    gateway.sql(
        "from accounts.models import Limit,Team;from routing.revisions import publish;"
        "Limit.objects.create(team=Team.objects.get(name='narrow'),kind='concurrency',amount=1,per='');"
        "publish('test','a limit')"
    )
    await asyncio.sleep(1.5)
    async with gateway.talk(key) as socket:
        await event(socket)
        assert (await refusal(gateway, key=key))[0] == 429
    await asyncio.sleep(0.5)
    async with gateway.talk(key) as socket:
        assert (await event(socket))["type"] == "session.created"


async def test_a_hard_budget_ends_a_conversation_that_goes_beyond(gateway: Gateway) -> None:
    key = gateway.issue(team="poor")
    gateway.sql(
        "from accounts.models import Budget,Team;from routing.revisions import publish;"
        "Budget.objects.create(team=Team.objects.get(name='poor'),unit='tokens',amount=6000,period='day',hard=True);"
        "publish('test','a budget')"
    )
    await asyncio.sleep(1.5)
    gateway.fake.usage = {"input_tokens": 2000, "output_tokens": 1000}
    try:
        async with gateway.talk(key) as socket:
            await event(socket)
            codes = []
            for _ in range(3):
                await socket.send('{"type":"response.create"}')
                codes += [(await event(socket))["type"] for _ in range(3)]
                if len(codes) == 6:
                    break
            said = await event(socket)
            assert said["error"]["code"] == "insufficient_quota"
            assert codes[-1] == "response.done", "what is billed is delivered"
    finally:
        gateway.fake.usage = {"input_tokens": 20, "output_tokens": 10}
    row = await until(lambda: (found := gateway.ledger()) and found["team"] == "poor" and found)
    assert (row["input_tokens"], row["output_tokens"]) == (4000, 2000)


async def test_a_provider_that_does_not_read_makes_the_client_wait(gateway: Gateway) -> None:
    go_on = asyncio.Event()
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    async def deaf(socket: ServerConnection) -> None:
        socket.transport.pause_reading()
        await say(socket, type="session.created")
        waiting = asyncio.run_coroutine_threadsafe(go_on.wait(), loop)
        await asyncio.wrap_future(waiting)
        socket.transport.resume_reading()
        seen.extend([len(message) async for message in socket])

    gateway.fake.behave(deaf)
    piece = b"x" * 100_000
    sent = 0
    async with gateway.talk(ping_interval=None) as socket:
        await event(socket)
        try:
            async with asyncio.timeout(4):
                while True:
                    await socket.send(piece)
                    sent += 1
        except TimeoutError:
            pass
        assert sent < 500, "a client that is not read is stopped, and nobody holds what it sends"
        go_on.set()
    await until(lambda: len(seen) >= sent)


async def test_ending_lets_conversations_go_on(kind: str) -> None:
    with FakeRealtime() as fake:
        values = {"LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": fake.url, "LLM_GATEWAY_SERVER": kind}
        with Served(None, OPENAI_API_KEY="sk-openai-0123456789", **values) as served:
            gateway = Gateway(served, fake, kind)
            async with gateway.talk() as socket:
                await event(socket)
                os.kill(served.pid, signal.SIGTERM)
                await asyncio.sleep(3)
                await socket.send('{"type":"response.create"}')
                assert [(await event(socket))["type"] for _ in range(3)][-1] == "response.done"
            assert await asyncio.to_thread(served.wait) == 0
