"""A gateway with a fake realtime provider behind it, and what a client of it does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.support.fake_realtime import FakeRealtime
from tests.support.served import Served

MODEL = "gpt-realtime"


class Gateway:
    """A gateway with its provider and a key."""

    def __init__(self, served: Served, fake: FakeRealtime, kind: str) -> None:
        self.served, self.fake, self.kind = served, fake, kind
        self.key = self.issue()

    def issue(self, *words: str, team: str = "crew") -> str:
        """A key that is in force."""
        key = self.served.manage("keys", "issue", "--team", team, *words).strip().splitlines()[-1]
        end = time.monotonic() + 20
        while self._status(key) == 401:
            assert time.monotonic() < end
            time.sleep(0.1)
        return key

    def _status(self, key: str) -> int:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.get(f"{self.served.url}/v1/models", headers=headers).status_code

    @property
    def address(self) -> str:
        return f"ws://127.0.0.1:{self.served.port}/v1/realtime"

    def sql(self, code: str) -> str:
        return self.served.manage("shell", "-c", code).strip()

    def ledger(self) -> dict[str, Any]:
        """The newest conversation that has ended; nothing before there is one. Read from the file: a command
        for it would take two seconds to begin."""
        file = self.served.folder / "gateway.sqlite3"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            row = database.execute(
                "SELECT * FROM accounts_requestentry WHERE surface = 'realtime' AND state <> 'reserved'"
                " ORDER BY at DESC LIMIT 1"
            ).fetchone()
        return {} if row is None else dict(row)

    @asynccontextmanager
    async def talk(
        self, key: str = "", query: str = f"?model={MODEL}", **more: Any
    ) -> AsyncIterator[ClientConnection]:
        headers = {"Authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        async with connect(
            self.address + query, additional_headers=headers, max_size=32 << 20, compression=None, **more
        ) as socket:
            yield socket

    def reset(self) -> None:
        """As if nobody had called."""
        fake = self.fake
        fake.refuse(0)
        fake.behave(fake._usual)
        fake.handshake_seconds = 0.0
        for each in (fake.handshakes, fake.heard, fake.closes):
            each.clear()


@contextmanager
def realtime_gateway(kind: str) -> Iterator[Gateway]:
    """One that runs, on this server."""
    with FakeRealtime() as fake:
        values = {
            "OPENAI_API_KEY": "sk-openai-0123456789",
            "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": fake.url,
            "LLM_GATEWAY_SERVER": kind,
        }
        with Served(None, **values) as served:
            yield Gateway(served, fake, kind)


async def until(look: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What `look` finds, once it is something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.05)
    return found


async def event(socket: ClientConnection) -> dict[str, Any]:
    message = await asyncio.wait_for(socket.recv(), 20)
    found: dict[str, Any] = json.loads(message)
    return found
