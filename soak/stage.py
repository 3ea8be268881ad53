"""What the cases run on: the provider, one gateway or several, Redis and PostgreSQL, all of them processes of
this machine, and gone when the run is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from soak.client import Ask, Seen, call
from tests.support.served import Served
from tests.support.services import PostgresServer, RedisServer

_ROOT = Path(__file__).resolve().parent.parent
# What a step may take on a machine that is busy with other things.
PATIENCE = 60.0


class Provider:
    """The upstream's process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "soak.upstream"],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None  # noqa: S101 - it was asked for, for the type
        self.port = int(self._process.stdout.readline())

    def seen(self) -> dict[str, Any]:
        """What it has served: see soak.upstream.Seen."""
        found: dict[str, Any] = json.loads(fetch(f"http://127.0.0.1:{self.port}/seen"))
        return found

    def answer(self, status: int) -> None:
        """Refuse everything by this status; 0: answer as ordered."""
        fetch(f"http://127.0.0.1:{self.port}/mode", json.dumps({"status": status}).encode())

    def close(self) -> None:
        """End it. It keeps nothing, so there is nothing to wait for."""
        self._process.kill()
        self._process.communicate()


@dataclass(frozen=True, slots=True)
class Stage:
    """Everybody who takes part. Cases take `gateways[0]` unless they say otherwise."""

    provider: Provider
    gateways: list[Served]
    key: str
    redis: RedisServer | None = None
    postgres: PostgresServer | None = None

    @property
    def port(self) -> int:
        return self.gateways[0].port

    def ask(self, ask: Ask, replica: int = 0, key: str = "") -> Callable[[], Any]:
        """A call, to be made again and again."""
        port = self.gateways[replica].port
        return lambda: call(port, key or self.key, ask)

    async def once(self, ask: Ask) -> Seen:
        return await call(self.port, self.key, ask)

    async def well(self) -> bool:
        """A call succeeds."""
        return (await self.once(Ask(stream=False))).good

    async def report(self, replica: int = 0) -> dict[str, Any]:
        """What /ready tells who has a key, whether it is ready or not."""
        url = self.gateways[replica].url + "/ready"
        page = await asyncio.to_thread(fetch, url, None, self.key)
        found: dict[str, Any] = json.loads(page)
        return found

    async def metric(self, name: str, replica: int = 0) -> float:
        """The sum of a metric's samples."""
        page = (await asyncio.to_thread(fetch, self.gateways[replica].url + "/metrics")).decode()
        fitting = [line for line in page.splitlines() if re.match(re.escape(name) + r"[ {]", line)]
        return sum(float(line.rpartition(" ")[2]) for line in fitting)

    async def apply(self, document: str) -> None:
        """Bring a configuration into force on all replicas."""
        before = (await self.report())["revision"]
        said = await asyncio.to_thread(
            lambda: self.gateways[0].manage("config", "apply", "-", given=document)
        )
        if "No changes" in said:
            return
        for replica in range(len(self.gateways)):
            await until(lambda replica=replica: self._newer(before, replica))  # type: ignore[misc]  # bound at once

    async def _newer(self, than: int, replica: int) -> bool:
        return int((await self.report(replica))["revision"]) > than

    def processes(self, replica: int = 0) -> list[psutil.Process]:
        """The processes of a gateway, its workers where it has some."""
        parent = psutil.Process(self.gateways[replica].pid)
        return [parent, *parent.children()]

    def resident(self) -> int:
        """Bytes of memory that the first gateway takes."""
        return sum(each.memory_info().rss for each in self.processes())

    def files(self) -> int:
        """How many files the first gateway has open."""
        return sum(each.num_fds() for each in self.processes())

    def processor(self) -> float:
        """Seconds of the processor that the first gateway has used."""
        return sum(sum(each.cpu_times()[:2]) for each in self.processes())


def fetch(url: str, body: bytes | None = None, key: str = "") -> bytes:
    """A page of loopback, whatever its status."""
    asked = urllib.request.Request(url, body, {"authorization": f"Bearer {key}"} if key else {})  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE) as reply:  # noqa: S310 - as above
            return bytes(reply.read())
    except urllib.error.HTTPError as error:
        return error.read()


async def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> float:
    """Wait until `condition`, which may be a coroutine, holds: the seconds that it took, infinite where it
    never did."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        found = condition()
        if await found if asyncio.iscoroutine(found) else found:
            return time.monotonic() - began
        await asyncio.sleep(0.02)
    return float("inf")


@contextmanager
def stage(replicas: int = 1, *, services: bool = False, **settings: str) -> Iterator[Stage]:
    """`services`: with a Redis and a PostgreSQL. `settings` of the gateways, without their prefix."""
    with contextlib.ExitStack() as stack:
        redis = (
            stack.enter_context(closing(RedisServer(["--appendonly", "yes"]))).start() if services else None
        )
        postgres = stack.enter_context(closing(PostgresServer())).start() if services else None
        provider = stack.enter_context(closing(Provider()))
        key = "gw-soak-" + secrets.token_hex(16)
        environ = {
            "OPENAI_API_KEY": "sk-soak-0123456789",
            "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": f"http://127.0.0.1:{provider.port}/v1",
            "LLM_GATEWAY_BOOTSTRAP_KEY": key,
            "LLM_GATEWAY_SECRET_KEY": secrets.token_urlsafe(48),
            **{f"LLM_GATEWAY_{name}": value for name, value in settings.items()},
        }
        if redis is not None and postgres is not None:
            environ |= {"LLM_GATEWAY_REDIS_URL": redis.url, "LLM_GATEWAY_DATABASE_URL": postgres.url}
        gateways = [stack.enter_context(Served(None, **environ)) for _ in range(replicas)]
        yield Stage(provider, gateways, key, redis, postgres)
