"""A drill: a provider fails on purpose, and the code that routes, retries and breaks circuits shows what it
does.

No provider is asked. Each target is stood in for by the built-in sandbox, and the chosen one by something
that fails; breakers, latencies and places are those of the drill alone, fresh at its start. Waits are not sat
out: a clock of the drill's own goes ahead. So nothing is paid, and no traffic feels it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import orjson
from msgspec import Struct

from dialects.chat import CHAT
from dialects.errors import GatewayError
from pipeline.call import Call, Handler, Record
from pipeline.errand import Means
from pipeline.failover import Failover
from pipeline.live import Deaf, LiveState
from pipeline.slots import Slots
from pipeline.upstream import Upstream
from providers.kinds import KINDS
from providers.sandbox import SandboxResponse, SandboxTransport
from providers.wire import UpstreamError, UpstreamRequest, UpstreamResponse
from routing.snapshot import ApiKey, Provider, Route, Snapshot, Target, Team

FAULTS = {
    "429": "it answers 429: too many requests",
    "503": "it answers 503: overloaded",
    "refused": "no connection is taken",
    "stall": "it takes the request and says nothing",
    "cut": "its stream breaks after some tokens",
    "slow": "its first token comes after ten seconds",
}
MOST_CALLS = 200
# What a call takes that goes well, and one whose first token is slow.
_USUAL, _SLOW = 0.4, 10.0
_STAND_IN = "http://drill"
# Some tokens have come by then.
_BEFORE_CUT = 4
_NOBODY = ApiKey(id=0, prefix="", digest=b"", team=Team(0, ""))


class DrillError(Exception):
    """The drill cannot be held; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is rehearsed: `calls` requests for `model`, `apart` seconds from each other, while `provider` has
    `fault`. `key`: whose request it is; None: somebody whom the common routes serve."""

    model: str
    provider: str
    fault: str
    calls: int = 20
    apart: float = 1.0
    key: ApiKey | None = None


class Called(Struct):
    """One request: when (seconds since the start), who was asked with what result, who served it ("":
    nobody), the error that the client got ("": none), and how long it took."""

    at: float
    asked: list[str]
    served: str
    error: str
    seconds: float


class Turned(Struct):
    """A breaker that changed its state, and when."""

    at: float
    target: str
    state: str


class Report(Struct):
    """What happened. `served`: how many requests each target served."""

    route: str
    calls: list[Called]
    breakers: list[Turned]
    served: dict[str, int]
    failed: int


@dataclass
class _Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class _Ears(Deaf):
    """Hears of breakers."""

    clock: _Clock
    turned: list[Turned] = field(default_factory=list)

    def breaker(self, place: tuple[str, str], state: str, seconds: float) -> None:  # noqa: ARG002 - the protocol's
        """A breaker has changed."""
        self.turned.append(Turned(round(self.clock.now, 1), "/".join(filter(None, place)), state))


class _Open:
    """Providers' limits are not rehearsed."""

    async def admit(self, call: Call, target: Target) -> GatewayError | None:  # noqa: ARG002 - the protocol's
        return None


class _Cut:
    """An answer whose stream breaks."""

    def __init__(self, inner: UpstreamResponse) -> None:
        self._inner = inner
        self.status = inner.status
        self.headers = inner.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Some of it, and then UpstreamError."""
        left = _BEFORE_CUT
        async for piece in self._inner.chunks():
            yield piece
            left -= 1
            if not left:
                break
        raise UpstreamError("reset", "the drill", sent=True)

    def nudge(self) -> None:
        """It has no pauses."""

    def at_hand(self, limit: int) -> bytes | None:
        """A stream is never here already."""
        return self._inner.at_hand(limit)

    async def read(self, limit: int) -> bytes:
        """All of it, which never comes."""
        await self._inner.read(limit)
        raise UpstreamError("reset", "the drill", sent=True)

    async def aclose(self) -> None:
        """Say no more."""
        await self._inner.aclose()


class _Stage:
    """The transport: who fails, fails here."""

    def __init__(self, faulty: str, fault: str, clock: _Clock) -> None:
        self._faulty = faulty
        self._fault = fault
        self._clock = clock
        self._sandbox = SandboxTransport(0.0)

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        if request.url.startswith(self._faulty):
            return await self._fail(request)
        self._clock.now += _USUAL
        return await self._sandbox.send(request)

    async def _fail(self, request: UpstreamRequest) -> UpstreamResponse:
        fault = self._fault
        if fault in ("429", "503"):
            self._clock.now += _USUAL / 4
            said = orjson.dumps({"error": {"message": "the drill", "type": "drill", "code": None}})
            return SandboxResponse(int(fault), "application/json", [said], 0.0)
        if fault == "refused":
            raise UpstreamError("refused", "the drill", sent=False)
        if fault == "stall":
            self._clock.now += request.first_byte
            raise UpstreamError("first_byte_timeout", "the drill", sent=True)
        self._clock.now += _SLOW if fault == "slow" else _USUAL
        answer = await self._sandbox.send(request)
        return _Cut(answer) if fault == "cut" else answer

    async def aclose(self) -> None:
        """Nothing is held."""


async def drill(snapshot: Snapshot, plan: Plan) -> Report:
    """Hold it. Raises DrillError."""
    if plan.fault not in FAULTS:
        raise DrillError(f"A fault is one of: {', '.join(FAULTS)}.")
    if not 1 <= plan.calls <= MOST_CALLS or not 0 <= plan.apart <= 3600:
        raise DrillError(f"From 1 to {MOST_CALLS} requests, from 0 to 3600 seconds apart.")
    clock = _Clock()
    ears = _Ears(clock)
    stood_in = _stood_in(snapshot)
    faulty = next((each for each in stood_in.providers.values() if each.name == plan.provider), None)
    if faulty is None:
        raise DrillError("No route has a provider of this name.")
    live = LiveState(Slots(), ears, clock)
    stage = _Stage(faulty.base_url + "/", plan.fault, clock)
    means = Means(live, random.Random(0).random, clock.pause)
    handler: Handler = Failover(Upstream({"sandbox": stage}), means, _Open())
    calls = []
    for number in range(plan.calls):
        clock.now = max(clock.now, number * plan.apart)
        calls.append(await _one(handler, stood_in, plan, clock, number))
    served = Counter(call.served for call in calls if call.served)
    route = calls[0].route if calls else ""
    return Report(
        route, [each.said for each in calls], ears.turned, dict(served), sum(not c.served for c in calls)
    )


@dataclass(frozen=True, slots=True)
class _Done:
    said: Called
    route: str

    @property
    def served(self) -> str:
        return self.said.served


async def _one(handler: Handler, snapshot: Snapshot, plan: Plan, clock: _Clock, number: int) -> _Done:
    body = {"model": plan.model, "messages": [{"role": "user", "content": "A drill."}], "stream": True}
    facts = CHAT.facts(body)
    record = Record(request_id=f"drill-{number}", surface="chat", started=0.0, model=plan.model, stream=True)
    call = Call(
        dialect=CHAT,
        raw=orjson.dumps(body),
        body=body,
        facts=facts,
        caller=plan.key or _NOBODY,
        snapshot=snapshot,
        record=record,
        headers={},
    )
    began, error = clock.now, ""
    try:
        reply = await handler(call)
        whole = (
            reply.body if isinstance(reply.body, bytes) else b"".join([piece async for piece in reply.body])
        )
        if b'"error"' in whole:
            error = record.code or "error inside the stream"
    except GatewayError as refused:
        error = refused.code
    finally:
        call.close()
    asked = [f"{each.provider}/{each.upstream_model}: {each.outcome}" for each in record.attempts]
    last = record.attempts[-1] if record.attempts else None
    served = f"{last.provider}/{last.upstream_model}" if last is not None and not error else ""
    took = round(clock.now - began, 1)
    return _Done(Called(round(began, 1), asked, served, error, took), record.route)


def _stood_in(snapshot: Snapshot) -> Snapshot:
    """The same routes to stand-ins of the same names, breakers and timeouts."""
    made: dict[int, Provider] = {}

    def provider(real: Provider) -> Provider:
        if real.id not in made:
            able = real.enabled and (bool(real.credentials) or not real.kind.needs_credential)
            made[real.id] = replace(
                real,
                kind=KINDS["sandbox"],
                base_url=f"{_STAND_IN}/{real.id}",
                credentials=(),
                limits=(),
                enabled=able,
            )
        return made[real.id]

    def route(real: Route) -> Route:
        targets = tuple(replace(target, provider=provider(target.provider)) for target in real.targets)
        return replace(real, targets=targets)

    routes = tuple(route(each) for each in snapshot.routes)
    return replace(snapshot, routes=routes, providers={each.name: each for each in made.values()})
