"""Failover over a script of outcomes, on a clock that passes only when somebody pauses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from dialects.chat import CHAT
from dialects.errors import Detail, Fault, GatewayError
from dialects.types import Facts
from pipeline.call import Attempt, Call, Record, Reply
from pipeline.errand import Means
from pipeline.failover import SESSION_HEADER, Failover
from pipeline.live import LiveState
from pipeline.slots import Slots
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.snapshot import (
    ApiKey,
    Credential,
    Provider,
    Route,
    Snapshot,
    Target,
    Team,
)

OK = Reply(200, [], b"{}")
Outcome = GatewayError | Reply


def failure(fault: Fault, code: str | None = None, cool: float | None = None) -> GatewayError:
    return GatewayError(fault, "it failed", Detail(code=code, cool=cool))


class World:
    """Failover over a script of outcomes by provider, on a clock that passes only when somebody pauses."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        self.asked: list[str] = []
        self.used: list[str] = []
        self.script: dict[str, list[Outcome]] = {}
        self.live = LiveState(Slots(), clock=lambda: self.now)
        self.failover = Failover(self._answer, Means(self.live, lambda: 0.5, self._pause), self)
        self.route = Route(1, "r", "m*", ())
        self.limited: dict[str, GatewayError] = {}
        self.on_ask: Callable[[], None] = lambda: None

    async def admit(self, _call: Call, target: Target) -> GatewayError | None:
        """The limits of the providers."""
        return self.limited.get(target.provider.name)

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def _answer(self, call: Call) -> Reply:
        assert call.target is not None
        name = call.target.provider.name
        self.asked.append(name)
        self.used.append(call.credential.label if call.credential else "")
        call.record.attempts.append(Attempt(name, "m", time.monotonic(), reason=call.reason))
        self.on_ask()
        outcome = self.script.get(name, [OK]).pop(0) if self.script.get(name) else OK
        if isinstance(outcome, GatewayError):
            raise outcome
        call.record.attempts[-1].outcome = "ok"
        return outcome

    def targets(self, *targets: Target, **route: Any) -> None:
        self.route = replace(self.route, targets=targets, **route)

    def call(self, *, key: str = "gw-test", session: str = "", stream: bool = False) -> Call:
        return Call(
            dialect=CHAT,
            raw=b"{}",
            body={},
            facts=Facts(model="m1", stream=stream),
            caller=ApiKey(1, key, b"", Team(1, "default")),
            snapshot=Snapshot(revision=1, routes=(self.route,)),
            record=Record(request_id="req_1", surface="chat", started=time.monotonic()),
            headers={SESSION_HEADER: session} if session else {},
        )

    async def send(self, call: Call | None = None) -> Call:
        """The call, closed, after it was answered."""
        call = call or self.call()
        try:
            assert await self.failover(call) is OK
        finally:
            call.close()
        return call


def target(name: str, number: int = 1, keys: Sequence[str] = (), **changes: Any) -> Target:
    """One at a provider of its own."""
    credentials = tuple(Credential(hash((name, key)), key, "", "secret") for key in keys)
    kind = KINDS["openai_compatible"]
    provider = Provider(number, name, kind, "http://x", Timeouts(), credentials)
    return replace(Target(number, provider, tier=number), **changes)


A, B, C = (target(name, number) for number, name in enumerate("abc"))
