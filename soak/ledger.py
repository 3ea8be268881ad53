"""The case of the ledger: exact, whatever is killed meanwhile (L9)."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections import Counter
from typing import Any

import psycopg
import redis

from soak.client import Ask, Seen, call, for_a_while
from soak.figures import Figure, must
from soak.sizes import Size
from soak.stage import Stage, until
from soak.upstream import INPUT_TOKENS, OUTPUT_TOKENS

# A tenth of the calls meet a fault of the provider.
_KINDS = [Ask(), Ask(stream=False), Ask(chunks=10, rate=50)] * 3 + [Ask(fault="cut", chunks=10)]
# Until a dead process's calls are known to be nobody's, and the rest is carried.
_SETTLED_SECONDS = 120.0
Row = tuple[str, str, int, int]


async def exactness(stage: Stage, size: Size) -> list[Figure]:
    """Calls go on while two workers are killed, Redis forgets all, and PostgreSQL is started anew. Each
    answer that a client has is in the ledger once, as the provider counted it."""
    assert stage.redis is not None  # noqa: S101 - the stage of this case has both
    assert stage.postgres is not None  # noqa: S101 - as above
    before = {row[0] for row in await _rows(stage)}
    running = asyncio.ensure_future(
        for_a_while(size.clients, size.seconds, lambda: call(stage.port, stage.key, random.choice(_KINDS)))
    )
    await _kill_a_worker(stage)
    with redis.Redis(port=stage.redis.port) as client:
        await asyncio.to_thread(client.flushall)
    await asyncio.to_thread(stage.postgres.kill)
    await asyncio.to_thread(stage.postgres.start)
    await _kill_a_worker(stage)
    seen: list[Seen] = await running
    answered = {each.headers["x-request-id"] for each in seen if each.good}
    took = await until(lambda: _carried(stage, answered), _SETTLED_SECONDS)
    rows = [row for row in await _rows(stage) if row[0] not in before]
    exact = {row[0] for row in rows if row[1:] == ("settled", INPUT_TOKENS, OUTPUT_TOKENS)}
    states = Counter(row[1] for row in rows)
    proof = await asyncio.to_thread(_proof, stage)
    return [
        must(
            "L9",
            f"workers, Redis, PostgreSQL killed: of {len(answered)} answers not in the ledger",
            "0",
            len(answered - {row[0] for row in rows}),
            holds=took < _SETTLED_SECONDS,
        ),
        must("L9", "with other tokens than counted", "0", len(answered - exact), holds=answered <= exact),
        must(
            "L9",
            "rows by state; still reserved",
            "0",
            f"{dict(states)}; {states['reserved']}",
            holds=not states["reserved"],
        ),
        must("L9", "manage.py ledger reconcile", "nothing differs", proof, holds=proof == "nothing differs"),
    ]


async def _kill_a_worker(stage: Stage) -> None:
    workers = stage.processes()[1:]
    workers[0].kill()
    await until(lambda: len(stage.processes()) == 3 and not workers[0].is_running())
    # The one that lives goes on; calls are answered all the same.
    await until(stage.well)


async def _carried(stage: Stage, answered: set[str]) -> bool:
    rows = await _rows(stage)
    return answered <= {row[0] for row in rows} and not any(row[1] == "reserved" for row in rows)


async def _rows(stage: Stage) -> list[Row]:
    def read() -> list[Any]:
        assert stage.postgres is not None  # noqa: S101 - as above
        with psycopg.connect(stage.postgres.url) as connection:
            asked = "SELECT request_id, state, input_tokens, output_tokens FROM accounts_requestentry"
            return connection.execute(asked).fetchall()

    return await asyncio.to_thread(read)


def _proof(stage: Stage) -> str:
    try:
        stage.gateways[0].manage("ledger", "reconcile")
    except subprocess.CalledProcessError as error:
        return str(error.stdout or error.stderr)[-300:].replace("\n", " ")
    return "nothing differs"
