"""Several prompts as streams of their own and one for the client, without sockets."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from dialects.errors import GatewayError
from dialects.sse import COMMENT
from dialects.types import Usage
from pipeline import fanout
from pipeline.answer import SSE_HEADERS
from pipeline.call import Call
from pipeline.fanout import PARALLEL, Fanout
from pipeline.tests.prompts_apart import FAILURE, PROMPTS, Inner, a_call, chunk


@pytest.fixture
def inner() -> Inner:
    return Inner()


async def begun(inner: Inner, prompts: list[str]) -> tuple[Call, Any]:
    call = a_call(prompts, stream=True)
    reply = await Fanout(inner)(call)
    assert not isinstance(reply.body, bytes)
    assert reply.headers == list(SSE_HEADERS)
    return call, reply.body


def told(raw: bytes) -> list[tuple[int, str, str | None]]:
    frames = [one.removeprefix(b"data: ") for one in raw.replace(COMMENT, b"").split(b"\n\n")[:-1]]
    chunks = [orjson.loads(one) for one in frames if one != b"[DONE]"]
    return [(c["index"], c["text"], c["finish_reason"]) for one in chunks for c in one.get("choices", ())]


async def test_streams_come_as_they_come(inner: Inner) -> None:
    late = asyncio.Event()
    inner.streams = lambda prompt: [
        chunk(prompt, prompt.upper()),
        *([late] if prompt == "a" else ()),
        chunk(prompt, "", "stop"),
    ]
    call, body = await begun(inner, ["a", "b"])
    raw = b""
    while (1, "", "stop") not in told(raw):
        raw += await anext(body)
    assert (0, "", "stop") not in told(raw)
    late.set()
    raw += b"".join([piece async for piece in body])
    assert sorted(told(raw), key=lambda one: one[0]) == [
        (0, "A", None), (0, "", "stop"), (1, "B", None), (1, "", "stop"),
    ]  # fmt: skip
    assert raw.endswith(b"data: [DONE]\n\n")
    call.close()
    assert call.record.usage == Usage(2, 2)
    await body.aclose()
    assert all(one.closed for one in inner.bodies.values())


async def test_a_few_begin_and_the_others_follow(inner: Inner) -> None:
    call, body = await begun(inner, PROMPTS)
    assert [one.body["prompt"] for one in inner.calls] == PROMPTS[:PARALLEL]
    assert call.record.dropped == ["seed"]
    raw = b""
    while not body.complete:
        assert sum(finish is not None for _, _, finish in told(raw)) < len(PROMPTS)
        raw += await anext(body)
    raw += b"".join([piece async for piece in body])
    assert [one.body["prompt"] for one in inner.calls] == PROMPTS
    ends = [index for index, _, finish in told(raw) if finish]
    assert sorted(ends) == list(range(len(PROMPTS)))
    assert raw.count(b"[DONE]") == 1
    call.close()
    assert call.record.first_content > 0
    assert call.record.usage == Usage(2 * len(PROMPTS), len(PROMPTS))


@pytest.mark.parametrize("late", [False, True], ids=["in-its-middle", "at-its-late-beginning"])
async def test_a_failure_in_one_stream_ends_all(inner: Inner, *, late: bool) -> None:
    never = asyncio.Event()
    inner.streams = lambda prompt: [
        chunk(prompt, prompt.upper()),
        *([FAILURE] if prompt == "b" and not late else [] if prompt == "b" else [never]),
    ]
    inner.failures = {"e": FAILURE} if late else {}
    call, body = await begun(inner, ["a", "b", "c", "d", "e"])
    raw = b"".join([piece async for piece in body])
    *_, last, rest = raw.split(b"\n\n")
    assert rest == b""
    assert orjson.loads(last.removeprefix(b"data: "))["error"]["code"] == "upstream_error"
    assert b"[DONE]" not in raw
    assert (call.record.outcome, call.record.code) == ("error", "upstream_error")
    # Before anybody has told the body to close.
    assert all(one.closed for one in inner.bodies.values())
    call.close()
    await body.aclose()
    # The late one was asked and gave nothing.
    assert call.record.usage == Usage(4, 4)


async def test_a_stream_that_nobody_reads_on_is_closed(inner: Inner) -> None:
    never = asyncio.Event()
    inner.streams = lambda prompt: [chunk(prompt, prompt), never]
    call, body = await begun(inner, PROMPTS)
    await anext(body)
    call.close()
    await body.aclose()
    await body.aclose()
    assert len(inner.bodies) == PARALLEL
    assert all(one.closed for one in inner.bodies.values())
    assert call.record.usage == Usage(2 * PARALLEL, PARALLEL)
    assert [piece async for piece in body] == []
    assert len(asyncio.all_tasks()) == 1


async def test_a_stream_that_nobody_reads_at_all_is_closed(inner: Inner) -> None:
    call, body = await begun(inner, ["a", "b"])
    call.close()
    await body.aclose()
    assert all(one.closed for one in inner.bodies.values())
    assert len(asyncio.all_tasks()) == 1


async def test_signs_of_life_while_nobody_speaks(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "KEEPALIVE_SECONDS", 0.01)
    inner.gates["e"] = asyncio.Event()
    call, body = await begun(inner, [*"abcd", "e"])
    raw = b""
    while raw.count(COMMENT) < 2:
        raw += await anext(body)
    inner.gates["e"].set()
    raw += b"".join([piece async for piece in body])
    assert [index for index, _, finish in told(raw) if finish and index == 4] == [4]
    assert raw.endswith(b"data: [DONE]\n\n")
    call.close()
    await body.aclose()


async def test_a_streams_own_sign_of_life_is_the_clients(inner: Inner) -> None:
    inner.streams = lambda prompt: [COMMENT, chunk(prompt, prompt, "stop")]
    call, body = await begun(inner, ["a", "b"])
    raw = b"".join([piece async for piece in body])
    assert raw.count(COMMENT) == 2
    assert [finish for _, _, finish in told(raw)] == ["stop", "stop"]
    call.close()
    await body.aclose()


async def test_an_atomic_call_begins_when_all_have_ended(inner: Inner) -> None:
    call = replace(a_call(PROMPTS, stream=True), integrity="atomic")
    reply = await Fanout(inner)(call)
    assert not isinstance(reply.body, bytes)
    assert len(inner.calls) == len(PROMPTS)
    assert inner.most == PARALLEL
    assert all(one.closed for one in inner.bodies.values())
    raw = b"".join([piece async for piece in reply.body])
    assert sorted(index for index, _, finish in told(raw) if finish) == list(range(len(PROMPTS)))
    assert raw.endswith(b"data: [DONE]\n\n")
    call.close()
    await reply.body.aclose()
    assert call.record.usage == Usage(2 * len(PROMPTS), len(PROMPTS))
    assert call.record.first_content > 0


@pytest.mark.parametrize("late", [False, True], ids=["in-its-middle", "at-its-late-beginning"])
async def test_an_atomic_call_that_fails_has_not_begun(inner: Inner, *, late: bool) -> None:
    inner.streams = lambda prompt: [
        chunk(prompt, prompt),
        *([FAILURE] if prompt == "p1" and not late else []),
    ]
    inner.failures = {PROMPTS[-1]: FAILURE} if late else {}
    call = replace(a_call(PROMPTS, stream=True), integrity="atomic")
    with pytest.raises(GatewayError):
        await Fanout(inner)(call)
    assert all(one.closed for one in inner.bodies.values())
    assert call.record.first_content == 0


async def test_an_atomic_call_holds_back_no_more_than_it_can(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "HELD_LIMIT", 600)
    with pytest.raises(GatewayError) as caught:
        await Fanout(inner)(replace(a_call(PROMPTS, stream=True), integrity="atomic"))
    assert caught.value.code == "upstream_invalid_response"
    assert all(one.closed for one in inner.bodies.values())


async def test_nothing_is_begun_for_a_client_that_has_left(inner: Inner) -> None:
    call, body = await begun(inner, PROMPTS)
    call.record.outcome = "client_gone"
    raw = b"".join([piece async for piece in body])
    assert sum(finish is not None for _, _, finish in told(raw)) == PARALLEL
    assert len(inner.calls) == PARALLEL
    call.close()
    await body.aclose()
    assert call.record.usage == Usage(2 * PARALLEL, PARALLEL)


async def test_a_fault_in_a_stream_is_the_doors(inner: Inner) -> None:
    call, body = await begun(inner, [*"abcd", "e"])
    inner.failures["e"] = RuntimeError("a fault")
    with pytest.raises(RuntimeError, match="a fault"):
        assert [piece async for piece in body]
    call.close()
    await body.aclose()
    assert len(asyncio.all_tasks()) == 1
