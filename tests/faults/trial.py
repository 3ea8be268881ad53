"""One call against a provider that fails in a known way, and all that has to be true when it is over.

Not only what the client reads: the metrics, the record, the breaker's samples, what the key was charged, and
that nothing is left open, neither a place, a lease, a task nor a socket.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from dialects import estimate
from dialects.types import Usage
from pipeline.breaker import Verdict
from pipeline.call import Record
from pipeline.errand import MAX_ATTEMPTS
from pipeline.memory import MemoryStore
from pipeline.tests import faults
from pipeline.tests.faults import Told
from providers.transport import PooledTransport
from routing.allowances import Budget, Limit
from routing.snapshot import Provider, Target
from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import OTHER_PAIRS, PAIRS, PROMPT, TEXT, Answer, Pair, ask
from tests.support.upstream.script import Answer as Good
from tests.support.upstream.script import Step

# What may be used, far over what any of these calls takes: that it is charged right is the point.
_LEASES = Limit(1, "concurrency", 8, span=0, key_id=1)
_TOKENS = Budget(1, "tokens", 10_000_000, "day", key_id=1)
# How many events with content come before a fault within a stream, and the text in them.
CONTENT = 5
SAID = TEXT[:17]
INPUT = estimate.tokens(len(PROMPT))
# What the key is charged: nothing, the prompt by estimate, that and what was said, what the provider counts.
# "guess": by estimate of a whole answer.
Charge = Literal["released", "input", "partial", "guess", "provider"]
# How the ledger's row ends then. What a provider refuses as such is settled, at nothing.
_STATES: Mapping[Charge, tuple[str, ...]] = {
    "released": ("released", "settled"),
    "input": ("estimated",),
    "partial": ("estimated",),
    "guess": ("estimated",),
    "provider": ("settled",),
}
# Series of metrics, by name and values of labels, and how much they have grown.
Counts = dict[tuple[str, ...], int]
# A provider, how its attempt is written down, and what its breaker hears of it.
Try = tuple[str, str, Verdict]
_COUNTED = ("gateway_requests", "gateway_attempts", "gateway_stream_aborts", "gateway_client_gone",
            "gateway_possible_double_bills")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """What a fault before any content comes to.

    `told`, `code`: for a client who has no other target; `outcome`: of the attempt, where that is not the
    code; `again`, `elsewhere`: whether the same target is asked again, and another at all; `verdict`: for the
    breaker; `cool`: for how many seconds the target is left alone; `charge`: where nobody else answers;
    `closed`: the gateway must have closed the connection; `changes`: to the provider.
    """

    told: Told
    code: str
    outcome: str = ""
    again: bool = True
    elsewhere: bool = True
    verdict: Verdict = "failed"
    cool: float = 0.0
    charge: Charge = "released"
    closed: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)


def on(pairs: Sequence[Pair], *streams: bool) -> pytest.MarkDecorator:
    """Run a trial for each of these pairs of client and provider, streamed and whole."""
    cases = [
        pytest.param(pair, stream, id=f"{pair}-{'stream' if stream else 'whole'}")
        for pair in pairs
        for stream in streams or (False, True)
    ]
    return pytest.mark.parametrize(("pair", "stream"), cases)


EVERYWHERE = on(PAIRS)
WHOLE = on(PAIRS, False)
STREAMS = on(PAIRS, True)
# How a stream fails concerns every way in which one is read and written.
ALL_STREAMS = on((*PAIRS, *OTHER_PAIRS), True)
# Server-sent events have forms that lines of JSON have not.
SSE_STREAMS = on([pair for pair in (*PAIRS, *OTHER_PAIRS) if pair.upstream != "ollama"], True)


class Trial:
    """Asks, and checks."""

    def __init__(self, live: LiveGateway, fake: FakeUpstream, pair: Pair, stream: bool) -> None:
        self.live = live
        self.fake = fake
        self.pair = pair
        self.stream = stream
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._records = 0
        self._verdicts = 0
        self._charged = 0
        live.idle()
        self._tasks, self._sockets = self._open()
        self._mark()

    # -- the scene

    def named(self, name: str, **changes: Any) -> Provider:
        """A provider of the pair's kind, at the fake under this name."""
        return faults.named(self.live, self.pair, name, **changes)

    def serve(self, *targets: Provider | Target, **route: Any) -> None:
        """From now on by these, in their order; nothing is held against anybody."""
        live = self.live
        live.live.forget()
        key = {"limits": (_LEASES,), "budgets": (_TOKENS,)}
        live.use(live.snapshot([live.route("*", *targets, **route)], key=key))

    def alone(self, **changes: Any) -> None:
        """By `first` alone."""
        self.serve(self.named("first", **changes))

    def two(self, **changes: Any) -> None:
        """By `first`, and after it by `second`, which works."""
        self.serve(self.named("first", **changes), self.named("second"))

    def does(self, *steps: Step, times: int | None = None) -> None:
        """What `first` does from now on."""
        self.fake.script(Match(path="/first/"), steps, times=times)

    def ask(self, **more: Any) -> Answer:
        return ask(self.live, self.pair, stream=self.stream, **more)

    @property
    def lead(self) -> Good:
        """The events of a stream before the model has said anything."""
        return Good(events=self.pair.leading)

    @property
    def begun(self) -> Good:
        """The beginning of a stream, with SAID."""
        return Good(events=self.pair.leading + CONTENT)

    def event(self, payload: str) -> bytes:
        """A payload as one event in the provider's framing."""
        raw = payload.encode()
        return raw + b"\n" if self.pair.upstream == "ollama" else b"data: " + raw + b"\n\n"

    # -- whole proofs

    def proves(self, fault: Fault, *steps: Step) -> None:
        """The provider fails like this: the client is told, or another provider answers it unseen."""
        if steps:
            self.does(*steps)
        self.alone(**fault.changes)
        tries = MAX_ATTEMPTS if fault.again else 1
        self.refused(fault, tries)
        self.two(**fault.changes)
        if fault.elsewhere:
            self.falls_over(fault)
        else:
            self.refused(fault, 1)

    def refused(self, fault: Fault, tries: int = 1) -> Answer:
        """The client is told, whole and in its own form, after so many attempts."""
        asked = len(self.fake.requests)
        answer = self.ask()
        told = fault.told if tries == 1 else replace(fault.told, again="false")
        faults.check_refused(answer, told, fault.code)
        self.check_headers(answer)
        attempt = ("first", fault.outcome or fault.code, fault.verdict)
        self.over([attempt] * tries, answer.status, fault.code, fault.charge, _twice(fault, tries))
        self._is_cool(fault)
        if fault.closed:
            assert self.fake.wait_closed(self.fake.last)
        if len(self.fake.requests) != asked:
            assert len(self.fake.requests) == asked + tries
        return answer

    def falls_over(self, fault: Fault) -> Answer:
        """The second provider answers, and the client sees nothing of the first."""
        answer = self.ask()
        self.check_good(answer)
        attempt = ("first", fault.outcome or fault.code, fault.verdict)
        self.over([attempt, ("second", "ok", "ok")], 200, "", "provider", _twice(fault, 2))
        assert answer.header("x-gateway-provider") == "second"
        self._is_cool(fault)
        return answer

    def breaks_off(self, told: Told, code: str, verdict: Verdict = "failed") -> Answer:
        """The client has what was said so far, then an error within the stream, and no end that looks like
        one. A second target stands by: it must not be asked any more."""
        asked = len(self.fake.requests)
        answer = self.ask()
        assert (answer.status, answer.text) == (200, SAID)
        assert not answer.complete
        assert answer.finishes == []
        self._check_last(answer, told, code)
        faults.check_no_secret(answer.raw)
        self.check_headers(answer)
        aborted: Counts = {("gateway_stream_aborts", self.pair.surface, "upstream", code): 1}
        self.over([("first", code, verdict)], 200, code, "partial", aborted)
        assert len(self.fake.requests) == asked + 1
        return answer

    def answers(self, text: str | None = TEXT, charge: Charge = "provider") -> Answer:
        """The provider is odd and right: its answer arrives whole."""
        answer = self.ask()
        self.check_good(answer, text)
        self.over([("first", "ok", "ok")], 200, "", charge)
        return answer

    # -- checks

    def check_good(self, answer: Answer, text: str | None = TEXT) -> None:
        assert answer.status == 200, answer.raw
        assert text is None or answer.text == text
        assert answer.complete is self.stream
        assert answer.failures == []
        self.check_headers(answer)

    def check_headers(self, answer: Answer) -> None:
        """What every reply has, and nothing of a provider's."""
        record = self.live.wait_record(self._records + 1)
        assert answer.header("x-request-id") == answer.header("request-id") == record.request_id
        if not answer.streamed and answer.status >= 400:
            assert answer.json["request_id"] == record.request_id
        if record.attempts:
            assert answer.header("x-gateway-provider") == record.attempts[-1].provider
        for name in ("set-cookie", "content-encoding", "location"):
            assert answer.header(name) is None

    def over(
        self,
        tries: Sequence[Try],
        status: int,
        code: str,
        charge: Charge,
        more: Counts | None = None,
    ) -> Record:
        """All that has to be true of the last call. `more`: further metrics that it counts."""
        live = self.live
        record = live.wait_record(self._records + 1)
        live.idle()
        assert (record.status, record.code) == (status, code)
        assert [(one.provider, one.outcome) for one in record.attempts] == [one[:2] for one in tries]
        assert live.live.verdicts[self._verdicts :] == [(name, verdict) for name, _, verdict in tries]
        expected: Counter[tuple[str, ...]] = Counter(more or {})
        route = record.route
        expected[("gateway_requests", self.pair.surface, route, str(status), code or "ok")] += 1
        for name, outcome, _ in tries:
            expected[("gateway_attempts", name, outcome)] += 1
        assert self._count() - self._counts == expected
        self._check_charge(record, charge)
        self._check_ledger(record, charge, len(tries))
        self.check_nothing_left()
        self._mark()
        return record

    def check_nothing_left(self) -> None:
        """No place, lease, retry, task or socket is held any more."""
        live = self.live
        live.idle()
        store = self._store
        assert not any(store._leases.values())
        assert live.live.slots.total == live.live._retries == 0
        live.wait(lambda: self._open() <= (self._tasks, self._sockets))

    def _check_charge(self, record: Record, charge: Charge) -> None:
        charged = self.charged()
        used, self._charged = charged - self._charged, charged
        usage = record.usage
        if charge in ("released", "input"):
            assert usage is None
            assert used == (0 if charge == "released" else INPUT)
            return
        assert usage is not None
        assert usage.source == ("provider" if charge == "provider" else "estimated")
        assert used == usage.input_tokens + usage.output_tokens > 0
        if charge == "partial":
            said = estimate.tokens(record.output_chars)
            assert usage == Usage(usage.input_tokens, max(said, usage.output_tokens), source="estimated")
            assert usage.input_tokens >= INPUT

    def _check_ledger(self, record: Record, charge: Charge, tries: int) -> None:
        """One row that was begun before the provider was asked and has ended once, one for each attempt, and
        the same sum as the key was charged."""
        lines = [line for line in self.live.ledger.lines if line["request_id"] == record.request_id]
        assert [line["attempt"]["number"] for line in lines if "attempt" in line] == list(range(1, tries + 1))
        (last,) = (line for line in lines if "end" in line)
        assert last is lines[-1]
        row = last["end"]
        assert (row["status"], row["code"], row["tries"]) == (record.status, record.code, tries)
        assert row["state"] in _STATES[charge]
        assert [one["outcome"] for one in last["attempts"]] == [one.outcome for one in record.attempts]
        charged = 0 if charge == "released" else INPUT if charge == "input" else _sum(record.usage)
        assert row["input_tokens"] + row["output_tokens"] == charged

    def _check_last(self, answer: Answer, told: Told, code: str) -> None:
        """The last event is the error, in the surface's form, and a whole event of its own."""
        (error,) = answer.failures
        name, last = answer.events[-1]
        if self.pair.surface == "responses":
            # The output so far, in a response that says that it failed.
            assert last["response"]["error"] == error
            (item,) = last["response"]["output"]
            assert (item["status"], item["content"][0]["text"]) == ("incomplete", SAID)
            return
        assert last["error"] == error
        assert error["type"] == told.of(self.pair.surface)[1]
        if self.pair.surface != "messages":
            assert error["code"] == code
        assert name == ("error" if self.pair.surface == "messages" else "")

    def _is_cool(self, fault: Fault) -> None:
        live = self.live
        first = next(
            target for target in live.holder.current.routes[0].targets if target.provider.name == "first"
        )
        found = live.live.condition(first)
        cool = found.ready_in if "pause" in (found.out or "") else 0.0
        assert cool is not None
        assert fault.cool - 2 < cool <= fault.cool

    def charged(self) -> int:
        """What the key has been charged so far, in tokens."""
        return sum(meter.used for meter in self._store._meters.values())

    @property
    def _store(self) -> MemoryStore:
        assert isinstance(self.live.store, MemoryStore)
        return self.live.store

    # -- figures

    def _mark(self) -> None:
        self._counts = self._count()
        self._records = len(self.live.records)
        self._verdicts = len(self.live.live.verdicts)

    def _count(self) -> Counter[tuple[str, ...]]:
        """Every series that a call may count in: its name and the values of its labels."""
        found: Counter[tuple[str, ...]] = Counter()
        for family in self.live.registry.collect():
            if family.name in _COUNTED:
                for sample in family.samples:
                    if sample.name.endswith("_total") and sample.value:
                        found[(family.name, *sample.labels.values())] = int(sample.value)
        return found

    def _open(self) -> tuple[int, int]:
        """Tasks of the gateway's loop, and sockets of this process beside kept connections, which have two
        ends here."""
        inner = self.live.transport._inner
        assert isinstance(inner, PooledTransport)
        return _tasks(self.live.loop), _sockets() - 2 * inner.pool.idle


def _sum(usage: Usage | None) -> int:
    return 0 if usage is None else usage.input_tokens + usage.output_tokens


def _twice(fault: Fault, tries: int) -> Counts:
    """A call of which two attempts may be billed, or one that the client may make again, is counted."""
    late = fault.outcome == "first_byte_timeout"
    return (
        {("gateway_possible_double_bills", "*"): 1} if late or (fault.charge == "input" and tries > 1) else {}
    )


def _tasks(loop: asyncio.AbstractEventLoop) -> int:
    async def count() -> int:
        return len(asyncio.all_tasks()) - 1

    return asyncio.run_coroutine_threadsafe(count(), loop).result(10)


def _sockets() -> int:
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(Path("/proc/self/fd", name)).startswith("socket:")
        except FileNotFoundError:
            continue
    return found
