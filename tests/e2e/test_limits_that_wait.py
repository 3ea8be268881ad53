"""Calls that wait for a place under a limit, as clients see it: they get one, or are told why not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from tests.e2e.prompts import user
from tests.e2e.raising import every_sdk, raised
from tests.e2e.sdks import Stage
from tests.e2e.test_limits import allow, budget, limit
from tests.support.upstream.script import Answer, Stall

HELD = {"model": "gpt-4o", "max_tokens": 500, "messages": user("count:9"), "stream": True}


def depth(stage: Stage) -> float:
    return stage.gateway.registry.get_sample_value("gateway_limit_queue_depth", {"scope": "key"}) or 0.0


def asynchronous(stage: Stage, sdk: str) -> Any:
    return (
        stage.sdks.async_openai.chat.completions if sdk == "openai" else stage.sdks.async_anthropic.messages
    )


async def until_in_line(stage: Stage) -> None:
    async with asyncio.timeout(20):
        while depth(stage) != 1:  # noqa: ASYNC110 - the gateway is another thread's
            await asyncio.sleep(0.005)


@every_sdk
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_call_waits_until_the_one_before_it_is_over(stage: Stage, sdk: str, stream: bool) -> None:
    allow(stage, limit("concurrency", 1, wait_seconds=30), budget(100_000))
    stage.fake.script("", [Answer(events=5), Stall()], times=1)

    async def scene() -> str:
        events = await asynchronous(stage, "openai").create(**HELD)
        await anext(aiter(events))
        fields = {"model": "gpt-4o", "max_tokens": 50, "messages": user("say:at last"), "stream": stream}
        waiting = asyncio.create_task(asynchronous(stage, sdk).create(**fields))
        await until_in_line(stage)
        assert len(stage.fake.requests) == 1
        await events.close()
        answer = await waiting
        if not stream:
            return str(answer.model_dump_json())
        return "".join([event.model_dump_json() async for event in answer])

    assert ("stop" if sdk == "openai" else "end_turn") in stage.sdks.run(scene())
    record = stage.gateway.wait_record(2)
    assert record.outcome == "ok"
    assert record.queue_seconds > 0
    assert depth(stage) == 0
    stage.gateway.idle()


@every_sdk
def test_a_wait_in_vain_is_a_429(stage: Stage, sdk: str) -> None:
    allow(stage, limit("concurrency", 1, wait_seconds=0.05))
    stage.fake.script("", [Answer(events=5), Stall()], times=1)
    with stage.sdks.openai.chat.completions.create(**HELD) as events:  # type: ignore[call-overload]  # fields of a dict
        next(iter(events))
        error = raised(stage, sdk)
    assert error.status_code == 429
    assert error.response.headers["retry-after"] == "1"
    assert error.response.headers["x-should-retry"] == "true"


def test_a_clients_own_deadline_ends_the_wait(stage: Stage) -> None:
    allow(stage, limit("concurrency", 1, wait_seconds=30))
    stage.fake.script("", [Answer(events=5), Stall()], times=1)
    with stage.sdks.openai.chat.completions.create(**HELD) as events:  # type: ignore[call-overload]  # fields of a dict
        next(iter(events))
        error = raised(stage, "openai", extra_headers={"x-gateway-timeout": "0.1"})
    assert (error.status_code, error.code) == (504, "deadline_exceeded")


def test_a_client_that_leaves_the_line_is_charged_nothing(stage: Stage) -> None:
    row = budget(100_000)
    allow(stage, limit("concurrency", 1, wait_seconds=30), row)
    stage.fake.script("", [Answer(events=5), Stall()], times=1)

    async def scene() -> None:
        events = await asynchronous(stage, "openai").create(**HELD)
        await anext(aiter(events))
        waiting = asyncio.create_task(
            asynchronous(stage, "openai").create(model="gpt-4o", messages=user("hi"))
        )
        await until_in_line(stage)
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        stage.gateway.wait_record()
        await events.close()

    stage.sdks.run(scene())
    left = stage.gateway.wait_record(1)
    assert (left.status, left.code, left.attempts, left.charge) == (499, "client_gone", [], None)
    assert depth(stage) == 0
    stage.gateway.idle()
    assert len(stage.fake.requests) == 1
