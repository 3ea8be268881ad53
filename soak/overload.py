"""Cases of too much: more calls than can be served, a provider that refuses all, large bodies, faults of
every kind (L8, L12, L13, L20)."""

from __future__ import annotations

import asyncio
import random
import time

from soak.client import Ask, Seen, call, for_a_while, quantile, together
from soak.figures import Figure, must, speed
from soak.sizes import Size
from soak.stage import Stage, until
from soak.streams import faults

_MIB = 1 << 20


async def overload(stage: Stage, size: Size) -> list[Figure]:
    """L12: three times as many calls as can be served, whether or not earlier ones are answered."""
    plain = Ask(stream=False)
    usual = await for_a_while(size.clients, size.seconds, stage.ask(plain))
    most = len(usual) / size.seconds
    running: list[asyncio.Task[Seen]] = []
    began = time.monotonic()
    while (passed := time.monotonic() - began) < size.seconds:
        while len(running) < 3 * most * passed:
            running.append(asyncio.create_task(call(stage.port, stage.key, plain)))
        await asyncio.sleep(0.005)
    seen = await asyncio.gather(*running)
    took = max(each.ended for each in seen) - began
    good, refused = [each for each in seen if each.good], [each for each in seen if each.refused]
    wrong = faults(seen)
    back = await until(stage.well)
    share = len(good) / took / most
    slow = quantile([each.seconds for each in refused], 0.99)
    return [
        must(
            "L12",
            f"{len(seen)} calls at 3x of {most:.0f}/s: neither right nor refused with retry-after",
            "0",
            dict(wrong),
            holds=not wrong,
        ),
        speed("L12", "goodput", ">= 90 % of the most", f"{share:.0%}", holds=share >= 0.9),
        speed(
            "L12",
            "refusals and their p99",
            "<= 10 ms",
            f"{len(refused)}, {slow:.0f} ms" if refused else "none",
        ),
        must("L12", "afterwards a call succeeds", "within 5 s", f"{back:.1f} s", holds=back < 60),
    ]


async def refusing_provider(stage: Stage, size: Size) -> list[Figure]:
    """L13: a provider that answers 503 to everything is not asked again and again."""
    stage.provider.answer(503)
    before, began = len(stage.provider.seen()["asked"]), time.monotonic()
    try:
        seen = await for_a_while(size.clients, size.seconds, stage.ask(Ask(stream=False)))
        attempts, took = len(stage.provider.seen()["asked"]) - before, time.monotonic() - began
    finally:
        stage.provider.answer(0)
    # Until the breaker opens, at most three of each of the calls under way; then one probe in a second.
    most = 1.2 * len(seen) + took + 5
    told = all(each.status in (502, 503) and not each.broken for each in seen)
    back = await until(stage.well)
    return [
        must(
            "L13",
            f"attempts at a provider that refuses, for {len(seen)} calls in {took:.0f} s",
            f"<= {most:.0f}",
            attempts,
            holds=attempts <= most and told,
        ),
        must(
            "L13",
            "when it is back, so are its answers",
            "one open interval",
            f"{back:.1f} s",
            holds=back < 60,
        ),
    ]


async def large_bodies(stage: Stage, size: Size) -> list[Figure]:
    """L20: bodies of the largest size, together."""
    await together(size.clients, 2, stage.ask(Ask(stream=False)))
    idle, late = stage.resident(), await _late(stage)
    most = idle
    asked = asyncio.ensure_future(
        together(size.bodies, 1, stage.ask(Ask(stream=False, padding=size.mib * _MIB)))
    )
    while not asked.done():
        most = max(most, stage.resident())
        await asyncio.wait((asked,), timeout=0.05)
    wrong = faults(asked.result())
    bar = idle + size.bodies * 2 * size.mib * _MIB + 50 * _MIB
    return [
        must(
            "L20",
            f"{size.bodies} bodies of {size.mib} MiB at once: faults",
            "0",
            dict(wrong),
            holds=not wrong,
        ),
        speed(
            "L20",
            "memory",
            f"<= {bar / _MIB:.0f} MiB",
            f"{idle / _MIB:.0f} to {most / _MIB:.0f} MiB",
            holds=most <= bar,
        ),
        speed("L20", "times the loop stood still for over 0.25 s", "0", f"{await _late(stage) - late:.0f}"),
    ]


async def _late(stage: Stage) -> float:
    return await stage.metric("gateway_loop_blocked_total")


async def mixed_faults(stage: Stage, size: Size) -> list[Figure]:
    """L8: good calls and every kind of fault in between; nothing is stuck, and memory does not grow."""
    kinds = [
        Ask(),
        Ask(stream=False),
        Ask(chunks=20, rate=50),
        Ask(fault="cut", chunks=10),
        Ask(fault="reset"),
    ]

    async def one() -> Seen:
        ask = random.choice(kinds)
        seen: Seen = await call(stage.port, stage.key, ask)
        # A provider that breaks off is told in-band: that is how it must be.
        if ask.fault:
            seen.faults.pop("error inside the stream", None)
            seen.faults.pop("lost chunk", None)
            seen.faults.pop("ended without its terminator", None)
        return seen

    await for_a_while(size.clients, size.seconds / 4, one)
    begun, started = stage.resident(), time.monotonic()
    seen = await for_a_while(size.clients, size.seconds, one)
    hours = (time.monotonic() - started) / 3600
    slope = (stage.resident() - begun) / _MIB / hours
    wrong = faults([each for each in seen if each.status not in (502, 503)])
    quiet = await until(lambda: stage.provider.seen()["open"] == 0)
    unhandled = stage.gateways[0].output.count('"event":"fault"') + stage.gateways[0].output.count(
        "Traceback"
    )
    return [
        must(
            "L8",
            f"{len(seen)} calls with faults mixed in: wrong ones, exceptions, streams that are stuck",
            "0, 0, 0",
            f"{sum(wrong.values())}, {unhandled}, {'0' if quiet < 60 else 'some'}",
            holds=not wrong and not unhandled and quiet < 60,
        ),
        speed("L8", "growth of memory", "< 1 MiB/h after the first half hour", f"{slope:.1f} MiB/h"),
    ]
