"""Cases of streams: many at once, one byte at a time, readers that rest, clients that leave (L1 to L7, L17,
L18)."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter

from soak.client import Ask, Caller, Seen, begin, for_a_while, quantile, together
from soak.figures import Figure, must, speed
from soak.sizes import Size
from soak.stage import PATIENCE, Stage, fetch, until

_MIB = 1 << 20
# A reader that rests is far behind after this many large chunks, whatever the kernels in between hold.
_FAR = 10_000


def faults(seen: list[Seen]) -> Counter[str]:
    """What was wrong with these answers; a refusal that says when to come again is not wrong."""
    found: Counter[str] = Counter()
    for each in seen:
        found += each.faults
        if each.broken:
            found["broken"] += 1
        elif each.status != 200 and not each.refused:
            found[f"status {each.status}"] += 1
    return found


async def many_streams(stage: Stage, size: Size) -> list[Figure]:
    """L1, L2, L3: streams at a steady pace, each chunk marked."""
    figures = []
    for streams in size.streams:
        rate, seconds = 20, size.seconds
        cpu, began = stage.processor(), time.monotonic()
        seen = await together(streams, 1, stage.ask(Ask(chunks=int(rate * seconds), rate=rate)))
        took = time.monotonic() - began
        wrong = faults(seen)
        good = [each for each in seen if each.good]
        chunks = sum(each.order.chunks for each in good)
        figures.append(
            must(
                "L1",
                f"{streams} streams, {rate} chunks/s each, {seconds:g} s: faults",
                "0",
                dict(wrong),
                holds=not wrong,
            )
        )
        first = quantile([each.first - each.began for each in good], 0.5)
        used = (stage.processor() - cpu) / took
        figures.append(
            speed(
                "L2",
                f"{streams} streams: whole, chunks/s, CPU, median time to the first chunk",
                "as high as can be",
                f"{len(good)}, {chunks / took:,.0f}/s, {used:.0%}, {first:.0f} ms",
            )
        )
    return figures


async def single_bytes(stage: Stage, size: Size) -> list[Figure]:
    """L18: an upstream whose every byte is a segment of its own."""
    plain = Ask(chunks=20, keep=True)
    normal = await stage.once(plain)
    cpu = stage.processor()
    await together(size.clients, 1, stage.ask(plain))
    usual, cpu = stage.processor() - cpu, stage.processor()
    seen = await together(size.clients, 1, stage.ask(Ask(chunks=20, fault="bytes", keep=True)))
    slow = stage.processor() - cpu
    # The marks differ by the stream's number alone.
    same = all(len(each.data) == len(normal.data) and each.good for each in seen)
    return [
        must("L18", f"{size.clients} streams of 1-byte segments: output as usual", "yes", same, holds=same),
        speed(
            "L18", "CPU beside the usual", "<= 2x", f"{slow / max(usual, 0.01):.1f}x", holds=slow <= 2 * usual
        ),
    ]


async def stalled_readers(stage: Stage, size: Size) -> list[Figure]:
    """L4: readers that take nothing. The provider must be held, and memory bounded."""
    await together(size.clients, 3, stage.ask(Ask()))
    idle, before = stage.resident(), stage.provider.seen()["whole"]
    resting = await _rest(stage, size.stalled)
    held = await until(lambda: stage.provider.seen()["paused"] >= size.stalled)
    each = (stage.resident() - idle) / size.stalled
    finished = stage.provider.seen()["whole"] - before
    for caller in resting:
        caller.transport.abort()
    let_go = await until(lambda: stage.provider.seen()["open"] == 0)
    return [
        speed("L4", "memory when idle", "<= 120 MiB", f"{idle / _MIB:.0f} MiB", holds=idle <= 120 * _MIB),
        must(
            "L4",
            f"{size.stalled} stalled readers: providers held, answers read ahead to their ends",
            "all, 0",
            f"{'all' if held < 60 else 'not all'}, {finished}",
            holds=held < 60 and finished == 0,
        ),
        speed("L4", "memory of each", "<= 256 KiB", f"{each / 1024:.0f} KiB", holds=each <= 256 * 1024),
        must("L4", "let go when they leave", "all", f"{let_go:.1f} s", holds=let_go < 60),
    ]


async def _rest(stage: Stage, count: int) -> list[Caller]:
    """Clients that read a first piece and then rest."""

    async def one() -> Caller:
        caller = await begin(stage.port, stage.key, Ask(chunks=_FAR, fault="large"))
        caller.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await caller.begun
        caller.transport.pause_reading()
        return caller

    return list(await asyncio.gather(*(one() for _ in range(count))))


# -- L5, L6, L7


async def disconnects(stage: Stage, size: Size) -> list[Figure]:
    """L5, L6: clients that leave at any moment, and what is left of them."""
    await together(size.clients, 3, stage.ask(Ask()))
    await until(lambda: stage.provider.seen()["open"] == 0)
    before = stage.files(), stage.resident()
    left: dict[int, float] = {}
    turn = asyncio.Semaphore(size.clients)

    async def leave(phase: int) -> None:
        async with turn:
            await _leave(stage, phase, left)

    await asyncio.gather(*(leave(number % 5) for number in range(size.leaving)))
    quiet = await until(lambda: _quiet(stage, before[0]))
    seen = stage.provider.seen()
    late = [seen["let_go"].get(str(number), float("inf")) - when for number, when in left.items()]
    # Who left before the provider had begun, or after it was done, was not cut there.
    cut = [seconds for seconds in late if seconds != float("inf")]
    again = await until(stage.well)
    grown = stage.resident() / before[1] - 1
    return [
        must(
            "L5",
            f"{size.leaving} clients left: files, calls and upstream streams as before",
            "within 60 s",
            f"{quiet:.1f} s, {stage.files() - before[0]:+d} files",
            holds=quiet < 60,
        ),
        speed("L5", "memory", "<= +5 %", f"{grown:+.1%}", holds=grown <= 0.05),
        must(
            "L6",
            f"upstreams let go of, of {len(cut)} cut streams",
            "100 % in 5 s",
            f"slowest {max(cut, default=0):.2f} s",
            holds=max(cut, default=0.0) <= 5.0,
        ),
        speed(
            "L6",
            "within a second",
            ">= 99.9 %",
            f"{sum(s <= 1 for s in cut) / max(1, len(cut)):.1%}",
            holds=sum(s <= 1 for s in cut) >= 0.999 * len(cut),
        ),
        must("L5", "calls succeed", "yes", f"after {again:.1f} s", holds=again < PATIENCE),
    ]


async def _leave(stage: Stage, phase: int, left: dict[int, float]) -> None:
    """0: with half a request sent; 1: at once; 2: before the first byte; 3: within; 4: near the end."""
    if phase == 0:
        _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {stage.key}\r\n"
        writer.write(head.encode() + b'content-type: application/json\r\ncontent-length: 500\r\n\r\n{"model"')
        await writer.drain()
        await asyncio.sleep(random.random() * 0.05)
        writer.transport.abort()
        return
    caller = await begin(stage.port, stage.key, Ask(chunks=12, rate=40))
    if phase >= 3:
        await caller.begun
    await asyncio.sleep({1: 0.0, 2: 0.01, 3: 0.25, 4: 0.3}[phase] * random.random())
    if not caller.done.done():
        left[caller.seen.order.stream_id] = time.monotonic()
    caller.transport.abort()


async def _quiet(stage: Stage, files: int) -> bool:
    seen, report = stage.provider.seen(), await stage.report()
    # Idle connections to the provider may be some more than before, or fewer by those of an earlier case that
    # were closed since; a call or a stream may not.
    return seen["open"] == 0 and report["in_flight"] <= 1 and stage.files() - files <= 2 * 64


async def churn(stage: Stage, size: Size) -> list[Figure]:
    """L7: far more clients than connections, each leaving as soon as it has begun."""

    async def one() -> Seen:
        caller = await begin(stage.port, stage.key, Ask(chunks=50, rate=20))
        await asyncio.wait((caller.begun,), timeout=random.random() * 0.3)
        caller.transport.abort()
        return await caller.done

    seen = await for_a_while(size.clients * 4, size.seconds, one)
    back = await until(stage.well)
    last = await stage.once(Ask(stream=False))
    quiet = await until(lambda: stage.provider.seen()["open"] == 0)
    return [
        must(
            "L7",
            f"after {len(seen)} calls that were broken off: calls succeed",
            "yes",
            f"after {back:.1f} s",
            holds=back < PATIENCE,
        ),
        speed("L7", "its time", "< 50 ms", f"{last.seconds * 1000:.0f} ms", holds=last.seconds < 0.05),
        must("L7", "upstream streams that are left", "0", f"none after {quiet:.1f} s", holds=quiet < 60),
    ]


async def slow_clients(stage: Stage, size: Size) -> list[Figure]:
    """L17: heads that never end and readers that never read, beside good traffic."""
    usual = await for_a_while(size.clients, size.seconds / 2, stage.ask(Ask(stream=False)))
    writers = [await _dripping(stage) for _ in range(size.slow)]
    resting = await _rest(stage, size.stalled)
    beside = await for_a_while(size.clients, size.seconds / 2, stage.ask(Ask(stream=False)))
    health = await asyncio.to_thread(fetch, stage.gateways[0].url + "/health")
    for writer in writers:
        writer.transport.abort()
    for caller in resting:
        caller.transport.abort()
    before, after = (quantile([each.seconds for each in seen], 0.99) for seen in (usual, beside))
    wrong = faults(beside)
    return [
        must(
            "L17",
            f"{size.slow} dripping heads, {size.stalled} stalled readers: faults of {len(beside)} good calls",
            "0",
            dict(wrong),
            holds=not wrong and b"ok" in health,
        ),
        speed("L17", "their p99", "<= +20 %", f"{before:.0f} to {after:.0f} ms", holds=after <= 1.2 * before),
    ]


async def _dripping(stage: Stage) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-a: ")
    return writer
