"""Several prompts as calls of their own, without sockets: the handler within answers from a script."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest

from dialects.chat import CHAT
from dialects.errors import BAD_REQUEST, GatewayError
from dialects.types import Usage
from pipeline import fanout
from pipeline.answer import JSON_HEADERS
from pipeline.call import Call, Reply
from pipeline.fanout import PARALLEL, Fanout
from pipeline.tests.prompts_apart import FAILURE, PROMPTS, Inner, a_call


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.mark.parametrize(
    "call",
    [
        a_call("one"),
        a_call(["one"]),
        a_call([1, 2]),
        a_call(["one", "two"], kind="openai_compatible"),
        a_call(["one", "two"], dialect=CHAT),
    ],
    ids=["text", "list-of-one", "tokens", "same-dialect", "chat"],
)
async def test_everything_else_goes_on_as_it_is(call: Call) -> None:
    reply = Reply(200, [], b"{}")
    asked = []

    async def inner(given: Call) -> Reply:
        asked.append(given)
        return reply

    assert await Fanout(inner)(call) is reply
    assert asked == [call]
    assert asked[0] is call


async def test_openais_chat_models_take_one_at_a_time_and_its_instruct_models_all(inner: Inner) -> None:
    call = a_call(["a", "b"], kind="openai")
    await Fanout(inner)(call)
    assert [one.body["prompt"] for one in inner.calls] == ["a", "b"]
    inner.calls.clear()
    call = a_call(["a", "b"], kind="openai")
    assert call.target is not None
    call.target = replace(call.target, upstream_model="gpt-3.5-turbo-instruct")

    async def instruct(given: Call) -> Reply:
        inner.calls.append(given)
        return Reply(200, [], b"{}")

    await Fanout(instruct)(call)
    assert inner.calls == [call]


async def waiting(inner: Inner, count: int) -> None:
    """Let everybody run until all that are left wait at their gates."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert inner.at_once == count


async def test_no_more_than_a_few_at_once_and_all_in_order(inner: Inner) -> None:
    call = a_call(PROMPTS)
    reply = await Fanout(inner)(call)
    assert (reply.status, reply.headers) == (200, list(JSON_HEADERS))
    assert isinstance(reply.body, bytes)
    choices = orjson.loads(reply.body)["choices"]
    assert [(one["index"], one["text"]) for one in choices] == [
        (at, prompt.upper()) for at, prompt in enumerate(PROMPTS)
    ]
    assert inner.most == PARALLEL
    assert [one.body["prompt"] for one in inner.calls] == PROMPTS
    assert [one.facts.prompt_chars for one in inner.calls] == [2] * len(PROMPTS)
    record = call.record
    assert [attempt.outcome for attempt in record.attempts] == ["ok"] * len(PROMPTS)
    assert (record.usage, record.dropped) == (Usage(2 * len(PROMPTS), len(PROMPTS)), ["seed"])
    assert all(one.record is not record and one.id == call.id for one in inner.calls)
    assert call.body["prompt"] == PROMPTS


async def test_the_answers_order_is_not_that_of_their_ends(inner: Inner) -> None:
    inner.gates["a"] = asyncio.Event()
    asking = asyncio.create_task(Fanout(inner)(a_call(["a", "b"])))
    await waiting(inner, 1)
    inner.gates["a"].set()
    reply = await asking
    assert isinstance(reply.body, bytes)
    assert [one["text"] for one in orjson.loads(reply.body)["choices"]] == ["A", "B"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("failure", [FAILURE, GatewayError(BAD_REQUEST, "no"), RuntimeError("a fault")])
async def test_one_that_fails_fails_all(inner: Inner, failure: Exception, *, stream: bool) -> None:
    inner.gates = {prompt: asyncio.Event() for prompt in "abd"}
    inner.failures["d"] = failure
    call = a_call(["a", "b", "c", "d"], stream=stream)
    asking = asyncio.create_task(Fanout(inner)(call))
    await waiting(inner, 3)
    inner.gates["d"].set()
    with pytest.raises(type(failure)) as caught:
        await asking
    assert caught.value is failure
    assert inner.at_once == 0
    # What was answered is paid.
    assert call.record.usage == Usage(1, 1)
    if stream:
        assert inner.bodies["c"].closed
    if isinstance(failure, GatewayError):
        outcomes = [attempt.outcome for attempt in call.record.attempts]
        assert (outcomes.count("given_up"), outcomes.count("client_gone")) == (2, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves(inner: Inner, *, stream: bool) -> None:
    inner.gates = {prompt: asyncio.Event() for prompt in "bcd"}
    call = a_call(["a", "b", "c", "d"], stream=stream)
    asking = asyncio.create_task(Fanout(inner)(call))
    await waiting(inner, 3)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert inner.at_once == 0
    assert sorted(one.outcome for one in call.record.attempts) == ["client_gone"] * 3 + ["ok"]
    assert call.record.usage == Usage(1, 1)
    if stream:
        assert inner.bodies["a"].closed


async def test_answers_that_are_too_large_together(inner: Inner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "ANSWER_LIMIT", 600)
    with pytest.raises(GatewayError) as caught:
        await Fanout(inner)(a_call(PROMPTS))
    assert caught.value.code == "upstream_invalid_response"
    assert len(inner.calls) < len(PROMPTS)
