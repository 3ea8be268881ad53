"""Answers that nobody would write by hand: cut anywhere, damaged anywhere; each ends, and none is believed
that is not HTTP."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

from providers.tests.asking import ask, fetch, until
from providers.transport import HttpTransport, PooledTransport
from providers.wire import UpstreamError

BODY = b'data: {"a":1}\n\n' * 40
CHUNKED = b"".join(b"%x;x=y\r\n%b\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:300], BODY[300:]))
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\nx-trailer: z\r\n\r\n" % CHUNKED,
    b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + BODY,
]
SPICES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"\xff",
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"9999999999999999999",
]


def damaged(answer: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, gone, doubled or spiced."""
    data = bytearray(answer)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        action = chance.randrange(4)
        if action == 0:
            data[at] = chance.randrange(256)
        elif action == 1:
            del data[at : at + chance.randint(1, 40)]
        elif action == 2:
            data[at:at] = data[at : at + chance.randint(1, 40)]
        else:
            data[at:at] = chance.choice(SPICES)
        data = data or bytearray(b"\n")
    return bytes(data)


class Server:
    """Sends what is in `answers`, one for each request, in pieces cut at random."""

    def __init__(self, seed: int) -> None:
        self.answers: list[bytes] = []
        self._chance = random.Random(seed)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            answer = self.answers.pop()
            while answer and not writer.is_closing():
                size = self._chance.choice([1, 3, 20, 100, 1000])
                writer.write(answer[:size])
                answer = answer[size:]
                await asyncio.sleep(0)
        except OSError:
            pass  # refused before its end
        finally:
            writer.close()


async def test_u17_an_answer_is_the_same_however_it_is_cut(transport: HttpTransport) -> None:
    server = Server(1)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        for answer in ANSWERS * 20:
            server.answers.append(answer)
            assert await fetch(transport, ask(url, b"")) == BODY


async def test_damaged_answers_end_and_leave_nothing(
    transport: HttpTransport, inner: PooledTransport
) -> None:
    unexpected: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unexpected.append(context))
    chance = random.Random(7)
    server = Server(2)
    ends: Counter[str] = Counter()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        for answer in ANSWERS * 150:
            server.answers.append(damaged(answer, chance))
            try:
                await fetch(transport, ask(url, b""))
                ends["answered"] += 1
            except UpstreamError as error:
                ends[error.reason] += 1
            server.answers.clear()
        await until(lambda: inner.pool.size == inner.pool.idle)
        server.answers.append(ANSWERS[0])
        assert await fetch(transport, ask(url, b"")) == BODY
    assert not unexpected
    # Each of these was met often, so the damage was neither too small nor too large to tell.
    assert min(ends["answered"], ends["invalid"], ends["truncated"]) >= 5
