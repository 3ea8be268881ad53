"""The load tool names what a scripted server does wrong, and finds nothing wrong with the mock upstream."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bench.client import Dialect, Target, one
from bench.load import Window, closed_loop, paced_streams
from bench.marks import Order, mark, read_order
from bench.mock_upstream import REPLY_BYTES, Connection

MODEL = "gpt-4o-mini"
Script = Callable[[Order], bytes]


@asynccontextmanager
async def mock_upstream() -> AsyncIterator[tuple[int, Counter[str]]]:
    """The mock in this process: its port and its counters."""
    loop = asyncio.get_running_loop()
    stats: Counter[str] = Counter()
    server = await loop.create_server(lambda: Connection(stats, loop), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], stats
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[int]:
    """A server that reads one request after the other and writes `script`'s bytes; empty bytes close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                order = read_order(await reader.readexactly(length))
                assert order is not None
                answer = script(order)
                if not answer:
                    break
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def reply(body: bytes, status: int = 200) -> bytes:
    return b"HTTP/1.1 %d Said\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


def events(order: Order, numbers: list[int]) -> bytes:
    body = b"".join(b"data: " + mark(order.stream_id, number) + b"\n\n" for number in numbers)
    return reply(body + b"data: [DONE]\n\n")


WRONG_REPLIES: dict[str, Script] = {
    "status 500: broken": lambda _: reply(b"broken", 500),
    "status 429: slow down": lambda _: reply(b"slow down", 429),
    "status 204: ": lambda _: b"HTTP/1.1 204 No\r\n\r\n",
    "malformed reply": lambda _: b"SPAM/9 hello\r\n\r\n",
    "closed without a reply": lambda _: b"",
    "no mark in the reply": lambda _: reply(b"{}"),
    "another request's reply": lambda order: reply(mark(order.stream_id + 1, 0)),
    "duplicated mark in the reply": lambda order: reply(mark(order.stream_id, 0) * 2),
}


@pytest.mark.parametrize("fault", WRONG_REPLIES)
async def test_a_wrong_reply_is_a_fault_and_not_a_request_done(fault: str) -> None:
    async with scripted(WRONG_REPLIES[fault]) as port:
        tally = await closed_loop(Target(port, MODEL), 2, Window(0.15, 0.0))
    assert tally.done == 0
    assert set(tally.faults) == {fault}


async def test_a_reply_that_breaks_off_is_a_fault() -> None:
    turns = iter([b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhalf", b""])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(turns))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        faults, _ = await one(Target(server.sockets[0].getsockname()[1], MODEL), Order(1), stream=False)
    assert faults == ["closed in the middle of a reply"]


async def test_nobody_listening_is_a_fault() -> None:
    async with scripted(lambda _: b"") as port:
        pass
    faults, _ = await one(Target(port, MODEL), Order(1), stream=False)
    assert [fault.partition(":")[0] for fault in faults] == ["no connection"]


async def test_a_connection_that_the_server_closes_between_requests_is_replaced() -> None:
    def script(order: Order) -> bytes:
        return reply(mark(order.stream_id, 0)).replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1)

    async with scripted(script) as port:
        tally = await closed_loop(Target(port, MODEL), 2, Window(0.2, 0.0))
    assert tally.done > 2
    assert not tally.faults


@pytest.mark.parametrize(
    ("numbers", "faults"),
    [
        ([0, 1, 2, 3, 4], set()),
        ([0, 1, 3, 4], {"lost chunk"}),
        ([0, 1, 1, 2, 3, 4], {"duplicated chunk"}),
        ([0, 2, 1, 3, 4], {"reordered chunk"}),
    ],
)
async def test_a_wrong_stream_is_a_fault(numbers: list[int], faults: set[str]) -> None:
    async with scripted(lambda order: events(order, numbers)) as port:
        tally = await paced_streams(Target(port, MODEL), 3, 50, Window(0.1, 0.0), warm=0.0)
    assert set(tally.faults) == faults
    assert tally.streams_ended == 3
    assert all(count == 3 for count in tally.faults.values())


@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_the_mock_has_no_fault(dialect: Dialect) -> None:
    async with mock_upstream() as (port, stats):
        target = Target(port, MODEL, dialect=dialect)
        replies = await closed_loop(target, 4, Window(0.2, 0.0))
        streams = await paced_streams(target, 4, 100, Window(0.2, 0.0), warm=0.0)
    assert replies.done > 0
    assert stats[f"{dialect}_replies"] >= replies.done
    assert streams.streams_ended == stats["streams_completed"] == stats[f"{dialect}_streams"] == 4
    assert stats["chunks"] == 4 * 20
    assert not replies.faults
    assert not streams.faults


@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_the_mock_replies_with_json_of_one_size(dialect: Dialect) -> None:
    async with mock_upstream() as (port, _):
        for stream_id in (1, 2**30):
            faults, body = await one(
                Target(port, MODEL, dialect=dialect), Order(stream_id % 10**9), stream=False
            )
            assert not faults
            assert len(body) == REPLY_BYTES
            assert json.loads(body)["usage"]


@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_the_mock_streams_json_events(dialect: Dialect) -> None:
    async with mock_upstream() as (port, _):
        faults, body = await one(Target(port, MODEL, dialect=dialect), Order(3, chunks=5), stream=True)
    assert not faults
    payloads = [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]
    texts = b"".join(payloads)
    assert [json.loads(payload) for payload in payloads if payload != b"[DONE]"]
    assert [texts.count(mark(3, number)) for number in range(6)] == [1, 1, 1, 1, 1, 0]


async def test_the_mock_counts_a_stream_that_the_reader_left() -> None:
    async with mock_upstream() as (port, stats):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(Target(port, MODEL).request(Order(1, chunks=1000, rate=10), stream=True))
        await reader.readuntil(mark(1, 0))
        writer.close()
        await writer.wait_closed()
        for _ in range(500):
            if stats["streams_abandoned"]:
                break
            await asyncio.sleep(0.01)
    assert stats["streams_abandoned"] == 1
    assert stats["streams_completed"] == 0


async def test_the_mock_reads_chunked_bodies_and_pipelined_requests() -> None:
    body = json.dumps({"messages": [{"role": "user", "content": Order(9).text()}]}).encode()
    head = b"POST /any/prefix/v1/chat/completions HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    async with mock_upstream() as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((head + pieces) * 2)
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            assert mark(9, 0) in await reader.readexactly(REPLY_BYTES)
        writer.close()


async def test_the_mock_refuses_what_it_does_not_know() -> None:
    async with mock_upstream() as (port, stats):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        writer.write(b"GET /elsewhere HTTP/1.1\r\nhost: h\r\n\r\n")
        while b"HTTP/1.1 404 " not in await reader.readuntil(b"\r\n"):
            pass
        writer.close()
    assert stats["without_order"] == stats["unknown_paths"] == 1
