"""Cases of several replicas, and of Redis, PostgreSQL and workers that go away under load (L10, L11, L14 to
L16, L19)."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import psutil

from accounts.keys import display_prefix
from soak.client import Ask, Seen, call, for_a_while, quantile
from soak.figures import Figure, must, speed
from soak.sizes import Size
from soak.stage import PATIENCE, Stage, fetch, until
from soak.streams import faults
from soak.upstream import INPUT_TOKENS, OUTPUT_TOKENS

_SMALL = Ask(stream=False)
# As long as the tokens that the provider counts for it: what is set aside is estimated from the length.
_COUNTED = Ask(stream=False, padding=4 * INPUT_TOKENS)


async def _issued(stage: Stage, team: str) -> str:
    """A new key of a new team, known to all replicas."""
    key = (await asyncio.to_thread(stage.gateways[0].manage, "keys", "issue", "--team", team)).strip()
    for replica in range(len(stage.gateways)):
        await until(partial(_knows, stage, replica, key))
    return key


async def _knows(stage: Stage, replica: int, key: str) -> bool:
    url = stage.gateways[replica].url + "/v1/models"
    return b'"data"' in await asyncio.to_thread(fetch, url, None, key)


async def _limited(stage: Stage, team: str, limit: str) -> str:
    key = await _issued(stage, team)
    await stage.apply(f"teams: [{{name: {team}, limits: [{limit}]}}]")
    return key


def _most_in_a_minute(moments: list[float]) -> int:
    """How many at most fall into any sixty seconds."""
    moments = sorted(moments)
    return max((sum(begin <= other < begin + 60 for other in moments) for begin in moments), default=0)


async def _everywhere(stage: Stage, size: Size, key: str, seconds: float, what: Ask = _SMALL) -> list[Seen]:
    """Calls at all replicas at once."""
    share = max(1, size.clients // len(stage.gateways))
    runs = [
        for_a_while(share, seconds, stage.ask(what, replica, key)) for replica in range(len(stage.gateways))
    ]
    return [seen for each in await asyncio.gather(*runs) for seen in each]


async def requests_limit(stage: Stage, size: Size) -> list[Figure]:
    """L10: no more than the limit gets through in any minute, and with Redis killed at most a share more."""
    assert stage.redis is not None  # noqa: S101 - the stage of these cases has one
    limit = size.limit
    share = limit // len(stage.gateways)
    key = await _limited(stage, "requests", f"{{kind: requests, amount: {limit}, per: minute}}")
    seen = await _everywhere(stage, size, key, size.seconds)
    admitted = [each for each in seen if each.status == 200]
    most = _most_in_a_minute([each.began for each in admitted])
    wrong = faults(seen)
    name = f"{len(stage.gateways)} replicas, {len(seen)} calls at {limit} a minute"
    figures = [
        # On a machine so busy that Redis does not answer within its 50 ms, a decision is made by the share.
        must(
            "L10",
            f"{name}: most in a minute, faults",
            f"<= {limit} + {share}, 0",
            f"{most}, {dict(wrong)}",
            holds=most <= limit + share and not wrong,
        ),
        speed("L10", f"{name}: exact", f"<= {limit}", str(most), holds=most <= limit),
        must("L10", f"{name}: of which used", "all", len(admitted), holds=len(admitted) >= limit),
    ]
    key = await _limited(stage, "killed", f"{{kind: requests, amount: {limit}, per: minute}}")
    first = await _some(stage, key, limit // 2)
    stage.redis.kill()
    try:
        rest = await _everywhere(stage, size, key, size.seconds)
    finally:
        stage.redis.start()
    admitted = [each for each in [*first, *rest] if each.status == 200]
    most = _most_in_a_minute([each.began for each in admitted])
    wrong = faults([*first, *rest])
    back = await _counted_again(stage)
    return [
        *figures,
        must(
            "L10",
            "Redis killed in the middle: most in a minute, faults",
            f"<= {limit} + {share}, 0",
            f"{most}, {dict(wrong)}",
            holds=most <= limit + share and not wrong,
        ),
        must("L10", "counted in Redis again", "by itself", f"{back:.1f} s", holds=back < PATIENCE),
    ]


async def _some(stage: Stage, key: str, count: int) -> list[Seen]:
    """So many calls, at the replicas in turn."""
    return [
        await call(stage.gateways[number % len(stage.gateways)].port, key, _SMALL) for number in range(count)
    ]


async def _counted_again(stage: Stage) -> float:
    async def well() -> bool:
        reports = [await stage.report(replica) for replica in range(len(stage.gateways))]
        return all(report["redis"]["ok"] for report in reports)

    return await until(well)


async def tokens_limit(stage: Stage, size: Size) -> list[Figure]:
    """L11: callers at once share a limit in tokens; what was really used stays within it."""
    limit = 10_000
    key = await _limited(stage, "tokens", f"{{kind: tokens, amount: {limit}, per: minute}}")
    seen = await _everywhere(stage, size, key, size.seconds, _COUNTED)
    # A run of a minute and a little ends with calls for which the first have made room.
    admitted = _most_in_a_minute([each.began for each in seen if each.status == 200])
    used = admitted * (INPUT_TOKENS + OUTPUT_TOKENS)
    wrong = faults(seen)
    return [
        must(
            "L11",
            f"tokens used of {limit} in any minute, by {size.clients} at once; faults",
            f"<= {limit * 1.05:.0f}, 0",
            f"{used}, {dict(wrong)}",
            holds=used <= limit * 1.05 and not wrong,
        ),
    ]


async def frozen_redis(stage: Stage, size: Size) -> list[Figure]:
    """L15: a Redis that hangs. Calls go on, with what little it costs to find out."""
    assert stage.redis is not None  # noqa: S101 - as above
    key = await _limited(stage, "frozen", "{kind: requests, amount: 1000000, per: minute}")
    usual = await _everywhere(stage, size, key, size.seconds / 2)
    stage.redis.stop()
    began = time.monotonic()
    try:
        seen = await _everywhere(stage, size, key, size.seconds)
    finally:
        stage.redis.cont()
    wrong = faults(seen)
    early = quantile([each.seconds for each in seen if each.began < began + 1], 0.99)
    late = quantile([each.seconds for each in seen if each.began >= began + 1], 0.99)
    before = quantile([each.seconds for each in usual], 0.99)
    back = await _counted_again(stage)
    return [
        must(
            "L15",
            f"Redis frozen: faults of {len(seen)} calls",
            "0",
            dict(wrong),
            holds=not wrong and all(each.good for each in seen),
        ),
        speed(
            "L15",
            "p99 before, in the first second, after it",
            "+100 ms, +5 ms",
            f"{before:.0f}, {early:.0f}, {late:.0f} ms",
            holds=early <= before + 100 and not late > before + 5,
        ),
        must("L15", "counted in Redis again", "by itself", f"{back:.1f} s", holds=back < PATIENCE),
    ]


async def stopped_postgres(stage: Stage, size: Size) -> list[Figure]:
    """L16: the database is killed. Known keys do not notice."""
    assert stage.postgres is not None  # noqa: S101 - as above
    stage.postgres.kill()
    try:
        seen = await _everywhere(stage, size, stage.key, size.seconds)
        stranger = await until(partial(_told_to_come_again, stage), 30)
    finally:
        stage.postgres.start()
    wrong = faults(seen)
    back = await until(partial(_database_seen, stage))
    return [
        must(
            "L16",
            f"PostgreSQL killed: faults of {len(seen)} calls of a known key",
            "0",
            dict(wrong),
            holds=not wrong and all(each.good for each in seen),
        ),
        must(
            "L16",
            "an unknown key is told to come again",
            "503",
            f"after {stranger:.1f} s",
            holds=stranger < 30,
        ),
        must("L16", "the database is seen again", "by itself", f"{back:.1f} s", holds=back < PATIENCE),
    ]


async def _told_to_come_again(stage: Stage) -> bool:
    return (await call(stage.port, "gw-a-key-that-nobody-has-issued-0001", _SMALL)).status == 503


async def _database_seen(stage: Stage) -> bool:
    reports = [await stage.report(replica) for replica in range(len(stage.gateways))]
    return all(report["database"]["ok"] for report in reports)


async def rolling_restart(stage: Stage, size: Size) -> list[Figure]:
    """L14: each worker is told to end, one after the other, under streams and new calls."""
    streams = asyncio.ensure_future(_streams(stage, size))
    stop = asyncio.Event()

    async def client() -> list[Seen]:
        found = []
        while not stop.is_set():
            found.append(await call(stage.port, stage.key, _SMALL))
        return found

    calls = [asyncio.create_task(client()) for _ in range(max(2, size.clients // 4))]
    replaced = []
    for worker in stage.processes()[1:]:
        worker.terminate()
        replaced.append(await until(lambda worker=worker: _gone(stage, worker.pid)))  # type: ignore[misc]  # bound at once
    seen = await streams
    stop.set()
    others = [each for found in await asyncio.gather(*calls) for each in found]
    cut, wrong = faults(seen), faults(others)
    return [
        must(
            "L14",
            f"{len(replaced)} workers told to end in turn under {len(seen)} streams: cut",
            "0",
            dict(cut),
            holds=not cut and all(each.good for each in seen) and max(replaced) < PATIENCE * 3,
        ),
        must(
            "L14",
            f"faults and refusals of {len(others)} other calls",
            "0",
            dict(wrong),
            holds=not wrong and all(each.good for each in others),
        ),
    ]


async def _streams(stage: Stage, size: Size) -> list[Seen]:
    ask = Ask(chunks=int(20 * max(3.0, size.seconds)), rate=20)
    return list(await asyncio.gather(*(call(stage.port, stage.key, ask) for _ in range(size.streams[0]))))


def _gone(stage: Stage, pid: int) -> bool:
    """This worker has ended, and there are as many as before that listen."""
    listening = [each.pid for each in stage.processes()[1:] if _listens(each, stage.port)]
    return pid not in listening and len(listening) == 2


def _listens(worker: psutil.Process, port: int) -> bool:
    try:
        connections = worker.net_connections()
    except psutil.Error:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)


async def changes(stage: Stage, _size: Size) -> list[Figure]:
    """L19: how soon a change and a revocation are in force on all replicas."""
    key = (await asyncio.to_thread(stage.gateways[0].manage, "keys", "issue", "--team", "crew")).strip()
    known = [await until(partial(_knows, stage, replica, key)) for replica in range(len(stage.gateways))]
    stream = asyncio.ensure_future(call(stage.port, key, Ask(chunks=4000, rate=20)))
    await asyncio.to_thread(stage.gateways[0].manage, "keys", "revoke", display_prefix(key))
    refused = [await until(partial(_unknown, stage, replica, key)) for replica in range(len(stage.gateways))]
    began = time.monotonic()
    ended = await stream
    cut = max(0.0, time.monotonic() - began)
    return [
        must(
            "L19",
            "a new key works on all replicas",
            "yes",
            f"{max(known):.2f} s",
            holds=max(known) < PATIENCE,
        ),
        speed("L19", "after the command", "<= 2 s", f"{max(known):.2f} s", holds=max(known) <= 2),
        must(
            "L19",
            "a revoked one is refused",
            "by all",
            f"{max(refused):.2f} s",
            holds=max(refused) < PATIENCE,
        ),
        must(
            "L19",
            "its open stream is cut",
            "in-band",
            f"after {cut:.1f} s",
            holds=b"revoked" in ended.data or ended.faults["error inside the stream"] == 1,
        ),
        speed("L19", "after the key was refused", "<= 5 s", f"{cut:.1f} s", holds=cut <= 5),
    ]


async def _unknown(stage: Stage, replica: int, key: str) -> bool:
    return not await _knows(stage, replica, key)
