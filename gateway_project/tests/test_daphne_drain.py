"""How the server begins and ends: nothing is cut while there is time, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import signal

import pytest

from gateway_project.tests.daphne_wire import PATIENCE, BrokenReplyError, Served, Wire, ask, serving


async def refused(served: Served) -> None:
    """Wait until no new connection is accepted."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with await Wire.open(served):
                    await asyncio.sleep(0.02)
            except ConnectionError:
                return


async def test_x1_open_streams_end_whole_while_the_door_is_shut() -> None:
    with serving(notice_seconds=0.5, drain_seconds=PATIENCE) as served:
        async with await Wire.open(served) as wire:
            wire.get("/stream?60")
            head = await wire.head()
            assert head.header("connection") is None
            served.process.terminate()
            await refused(served)
            body = await wire.chunks()
            assert body.endswith(b"piece 59\nend\n")
            assert await wire.ends() == b""
        said, _ = served.said()
    assert said == ["stopped", "ended"]
    assert served.process.returncode == 0


async def test_readiness_goes_first_and_answers_are_the_last_of_their_connection() -> None:
    with serving(notice_seconds=1.5) as served:
        async with await Wire.open(served) as kept:
            kept.get("/ready")
            assert (await kept.answer()).status == 200
            served.process.terminate()
            await asyncio.sleep(0.2)
            # Still accepting, and saying that it will not for long.
            assert (await ask(served, "/ready")).status == 503
            kept.get("/echo")
            answer = await kept.answer()
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert await kept.ends() == b""
        said, _ = served.said()
    assert said == ["stopped", "ended"]


async def test_an_idle_connection_holds_nothing_up() -> None:
    with serving(notice_seconds=0, drain_seconds=600) as served:
        async with (
            await Wire.open(served) as used,
            await Wire.open(served) as fresh,
            await Wire.open(served) as begun,
        ):
            used.get("/ready")
            await used.answer()
            begun.send(b"GET / HTTP")
            served.process.terminate()
            assert await used.ends() == b""
            assert await fresh.ends() == b""
            assert served.said()[0] == ["stopped", "ended"]


async def test_what_does_not_end_in_time_is_ended_in_band() -> None:
    with serving(notice_seconds=0, drain_seconds=0.5) as served:
        async with await Wire.open(served) as wire:
            wire.get("/stream?1000")
            await wire.head()
            served.process.terminate()
            assert (await wire.chunks()).endswith(b"cut\n")
        said, _ = served.said()
    assert said == ["cut", "stopped", "ended"]
    assert served.process.returncode == 0


async def test_what_does_not_even_end_then_is_broken() -> None:
    with serving(notice_seconds=0, drain_seconds=0.1, last_seconds=0.2) as served:
        async with await Wire.open(served) as wire:
            wire.get("/flood?1000000")
            await wire.head()
            served.process.terminate()
            with pytest.raises(BrokenReplyError):
                await wire.chunks()
        said, _ = served.said()
    assert said == ["cut", "stopped", "ended"]


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_means_now(first: int) -> None:
    with serving(notice_seconds=0.1, drain_seconds=600, last_seconds=600) as served:
        async with await Wire.open(served) as stream, await Wire.open(served) as deaf:
            stream.get("/stream?10000")
            await stream.head()
            deaf.get("/deaf")
            served.process.send_signal(first)
            # The same Ctrl-C, passed on by a parent, is not a second one.
            served.process.send_signal(first)
            await refused(served)
            await asyncio.sleep(0.5)
            assert served.process.poll() is None
            served.process.send_signal(signal.SIGTERM)
            assert (await stream.chunks()).endswith(b"cut\n")
            answer = await deaf.answer()
            assert (answer.status, answer.error["code"]) == (503, "draining")
        said, _ = served.said()
    assert said == ["cut", "stopped", "ended"]
    assert served.process.returncode == 0


async def test_a_reply_that_is_written_is_delivered() -> None:
    with serving(notice_seconds=0, drain_seconds=PATIENCE) as served:
        async with await Wire.open(served) as wire:
            wire.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n", b"b" * 8_000_000)
            head = await wire.head()
            served.process.terminate()
            await refused(served)
            await asyncio.sleep(0.3)
            size = int(head.header("content-length") or 0)
            assert await wire.reader.readexactly(size) == b"b" * 8_000_000
        assert served.said()[0] == ["stopped", "ended"]


async def test_a_start_that_fails_is_said_and_is_a_failure() -> None:
    with serving(fails_to_start=True) as served:
        said, log = served.said()
    assert served.process.returncode == 1
    # What was opened on the way is still given back.
    assert said == ["stopped"]
    assert "The gateway did not start. ConnectionError: the configuration cannot be read" in log
    with pytest.raises(ConnectionError):
        await Wire.open(served)
