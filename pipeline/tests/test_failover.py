"""Which target is tried after which failure, without sockets: the handler within is a script of outcomes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from dialects.chat import CHAT
from dialects.errors import (
    AUTH,
    BAD_REQUEST,
    BUDGET,
    BUSY,
    INTERNAL,
    MEDIA,
    NO_MODEL,
    NOT_FOUND,
    PERMISSION,
    RATE,
    SIZE,
    UPSTREAM_BAD,
    UPSTREAM_TIMEOUT,
    Detail,
    Fault,
    GatewayError,
)
from dialects.types import Facts
from pipeline.call import Attempt, Call, Deadline, Record, Reply
from pipeline.errand import MAX_ATTEMPTS, Means
from pipeline.failover import Failover
from pipeline.live import LiveState
from pipeline.slots import Slots
from providers.kinds import KINDS
from providers.wire import Reason, Timeouts, UpstreamError
from routing.snapshot import ApiKey, Provider, Route, Snapshot, Target, Team

OK = Reply(200, [], b"{}")


class Script:
    """The stages behind failover: one outcome a try, and the targets that it was called with."""

    def __init__(self, *outcomes: GatewayError | Reply, asks: bool = True) -> None:
        self.asked: list[str] = []
        self._outcomes = list(outcomes)
        self._asks = asks

    async def __call__(self, call: Call) -> Reply:
        assert call.target is not None
        name = call.target.provider.name
        self.asked.append(name)
        if self._asks:
            call.record.attempts.append(Attempt(name, "m", time.monotonic()))
        outcome = self._outcomes[len(self.asked) - 1]
        if isinstance(outcome, GatewayError):
            raise outcome
        return outcome


def provider(name: str, **changes: Any) -> Provider:
    made = Provider(id=1, name=name, kind=KINDS["ollama"], base_url="http://x", timeouts=Timeouts())
    return replace(made, **changes)


def a_call(targets: Sequence[Provider], *, stream: bool = False, allowed: tuple[str, ...] = ()) -> Call:
    route = Route(1, "r", "m*", tuple(Target(i, p, tier=i) for i, p in enumerate(targets)))
    return Call(
        dialect=CHAT,
        raw=b"{}",
        body={},
        facts=Facts(model="m1", stream=stream),
        caller=ApiKey(1, "gw-test", b"", Team(1, "default"), allowed_models=allowed),
        snapshot=Snapshot(revision=1, routes=(route,)),
        record=Record(request_id="req_1", surface="chat", started=time.monotonic()),
        headers={},
    )


class Open:
    """No provider has limits."""

    async def admit(self, call: Call, target: Target) -> None:
        return None


class Clock:
    """Seconds that pass only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def failover(inner: Script, clock: Clock | None = None) -> Failover:
    clock = clock or Clock()
    return Failover(inner, Means(LiveState(Slots(), clock=clock), lambda: 0.5, clock.pause), Open())


def failure(fault: Fault, code: str | None = None) -> GatewayError:
    return GatewayError(fault, "it failed", Detail(code=code))


def below_http(reason: Reason, fault: Fault = UPSTREAM_BAD) -> GatewayError:
    error = failure(fault)
    error.__cause__ = UpstreamError(reason, "words", sent=True)
    return error


A, B, C, D = (provider(name) for name in "abcd")
CURABLE = [failure(f) for f in (UPSTREAM_BAD, UPSTREAM_TIMEOUT, RATE, BUSY, BUDGET)]
FINAL = [failure(f) for f in (BAD_REQUEST, NO_MODEL, NOT_FOUND, SIZE, MEDIA, PERMISSION, AUTH, INTERNAL)]


@pytest.mark.parametrize("error", CURABLE, ids=lambda e: e.fault.name)
async def test_what_another_target_may_cure_is_tried_there(error: GatewayError) -> None:
    script = Script(error, OK)
    call = a_call([A, B, C])
    assert await failover(script)(call) is OK
    assert script.asked == ["a", "b"]
    assert call.record.provider == "b"


@pytest.mark.parametrize("error", FINAL, ids=lambda e: e.fault.name)
async def test_what_is_the_same_everywhere_is_said_at_once(error: GatewayError) -> None:
    script = Script(error)
    with pytest.raises(GatewayError) as caught:
        await failover(script)(a_call([A, B]))
    assert caught.value is error
    assert script.asked == ["a"]


@pytest.mark.parametrize(
    "error",
    [
        failure(UPSTREAM_BAD, "upstream_redirect"),
        failure(UPSTREAM_BAD, "upstream_event_too_large"),
        below_http("too_large"),
    ],
    ids=["redirect", "event", "answer"],
)
async def test_some_provider_faults_are_final(error: GatewayError) -> None:
    script = Script(error)
    with pytest.raises(GatewayError):
        await failover(script)(a_call([A, B], stream=True))
    assert script.asked == ["a"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_whole_answer_that_may_be_under_way_is_not_ordered_twice(stream: bool) -> None:
    script = Script(below_http("first_byte_timeout", UPSTREAM_TIMEOUT), OK)
    call = a_call([A, B], stream=stream)
    if stream:
        assert await failover(script)(call) is OK
    else:
        with pytest.raises(GatewayError):
            await failover(script)(call)
    assert script.asked == (["a", "b"] if stream else ["a"])


async def test_three_attempts_at_most_and_the_last_error_is_told() -> None:
    errors = [failure(UPSTREAM_BAD), failure(BUSY), failure(RATE)]
    script = Script(*errors)
    with pytest.raises(GatewayError) as caught:
        await failover(script)(a_call([A, B, C, D]))
    # Who was tried for three times in vain should not be asked for again by an SDK.
    assert (caught.value.code, caught.value.fault.should_retry) == (errors[-1].code, False)
    assert script.asked == ["a", "b", "c"]
    assert len(script.asked) == MAX_ATTEMPTS


async def test_a_target_without_others_is_asked_again_after_a_pause_that_grows() -> None:
    script, clock = Script(failure(BUSY), failure(UPSTREAM_BAD), OK), Clock()
    assert await failover(script, clock)(a_call([A])) is OK
    assert script.asked == ["a", "a", "a"]
    assert clock.pauses == [0.125, 0.25]


async def test_others_are_asked_before_the_same_again() -> None:
    script, clock = Script(failure(BUSY), failure(BUSY), OK), Clock()
    assert await failover(script, clock)(a_call([A, B])) is OK
    assert script.asked == ["a", "b", "b"]
    assert clock.pauses == [0.25]


async def test_a_target_that_cannot_do_the_request_is_passed_over() -> None:
    script = Script(failure(BAD_REQUEST, "unsupported_operation"), OK, asks=False)
    assert await failover(script)(a_call([A, B])) is OK
    assert script.asked == ["a", "b"]


async def test_when_no_target_can_do_it_the_client_is_told_why() -> None:
    script = Script(*[failure(BAD_REQUEST, "unsupported_operation")] * 3, asks=False)
    with pytest.raises(GatewayError) as caught:
        await failover(script)(a_call([A, B]))
    assert caught.value.code == "unsupported_operation"
    assert script.asked == ["a", "b"]


async def test_all_attempts_share_the_time_of_the_most_patient_target() -> None:
    patient = provider("patient", timeouts=Timeouts(total=100))
    hasty = provider("hasty", timeouts=Timeouts(total=10))
    call = a_call([hasty, patient])
    await failover(Script(OK))(call)
    assert 99 < call.deadline.remaining() <= 100


async def test_after_the_deadline_nobody_is_asked_any_more() -> None:
    call = a_call([A, B])
    call.deadline = Deadline(time.monotonic() - 1)
    script = Script(failure(UPSTREAM_TIMEOUT))
    with pytest.raises(GatewayError):
        await failover(script)(call)
    assert script.asked == ["a"]


async def test_a_key_that_may_not_use_the_model_reaches_nobody() -> None:
    script = Script()
    with pytest.raises(GatewayError) as caught:
        await failover(script)(a_call([A], allowed=("gpt-4o", "claude-*")))
    assert (caught.value.fault, caught.value.code) == (PERMISSION, "model_not_allowed")
    assert script.asked == []


async def test_a_model_without_a_route_is_unknown() -> None:
    call = a_call([A])
    call.snapshot = Snapshot(revision=1)
    with pytest.raises(GatewayError) as caught:
        await failover(Script())(call)
    assert caught.value.fault is NO_MODEL
    assert call.record.route == ""


async def test_a_route_without_a_ready_target_is_busy_and_says_when_to_come_again() -> None:
    call = a_call([provider("off", enabled=False)])
    with pytest.raises(GatewayError) as caught:
        await failover(Script())(call)
    assert (caught.value.fault, caught.value.code) == (BUSY, "no_healthy_target")
    assert caught.value.detail.retry_after
    assert "the provider off is disabled" in caught.value.message
    assert call.record.route == "m*"
