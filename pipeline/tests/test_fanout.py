"""Several prompts as calls of their own, without sockets: the handler within answers from a script."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from dialects.chat import CHAT
from dialects.completions import COMPLETIONS
from dialects.errors import BAD_REQUEST, UPSTREAM_BAD, Detail, GatewayError
from dialects.sse import COMMENT
from dialects.types import Dialect, Usage
from pipeline import fanout
from pipeline.answer import JSON_HEADERS, SSE_HEADERS
from pipeline.call import Attempt, Call, Record, Reply
from pipeline.fanout import PARALLEL, Fanout
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.snapshot import ApiKey, Provider, Snapshot, Target, Team

FAILURE = GatewayError(UPSTREAM_BAD, "it failed", Detail(code="upstream_error"))


def frame(**fields: Any) -> bytes:
    return b"data: " + orjson.dumps(fields) + b"\n\n"


def chunk(prompt: str, text: str, finish: str | None = None) -> bytes:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    made = {"id": f"cmpl-{prompt}", "object": "text_completion", "created": 1, "model": "m"}
    return frame(**made, choices=[choice])


class Pieces:
    """A stream of pieces; one that is a flag is waited for, one that is an error is told in-band."""

    def __init__(self, call: Call, pieces: list[bytes | asyncio.Event | GatewayError]) -> None:
        self.call = call
        self.pieces = pieces
        self.closed = 0

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        while self.pieces:
            piece = self.pieces.pop(0)
            if isinstance(piece, bytes):
                return piece
            if isinstance(piece, asyncio.Event):
                await piece.wait()
                continue
            self.pieces.clear()
            self.call.record.outcome, self.call.record.code = "error", piece.code
            return self.call.dialect.error_event(piece, self.call.id)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed += 1


class Inner:
    """The stages behind: each prompt is answered with itself in capitals, once `gates[prompt]` is open. A
    prompt in `failures` fails instead; `streams` makes the pieces of a stream."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.bodies: dict[str, Pieces] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.failures: dict[str, Exception] = {}
        self.streams: Callable[[str], list[Any]] = lambda prompt: [
            chunk(prompt, prompt.upper()),
            chunk(prompt, "", "stop") + b"data: [DONE]\n\n",
        ]
        self.at_once = self.most = 0

    async def __call__(self, call: Call) -> Reply:
        self.calls.append(call)
        prompt = call.body["prompt"]
        record = call.record
        attempt = Attempt("p", "m", time.monotonic())
        record.attempts.append(attempt)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(0)
            if prompt in self.gates:
                await self.gates[prompt].wait()
            if prompt in self.failures:
                raise self.failures[prompt]
        except asyncio.CancelledError:
            attempt.outcome = "client_gone"
            raise
        finally:
            self.at_once -= 1
        attempt.outcome = "ok"
        record.dropped = ["seed"]
        if call.facts.stream:
            record.first_content = time.monotonic()
            call.on_close(lambda: self._count(call))
            body = self.bodies[prompt] = Pieces(call, self.streams(prompt))
            return Reply(200, [], body)
        self._count(call)
        choice = {"text": prompt.upper(), "index": 0, "logprobs": None, "finish_reason": "stop"}
        made = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
        return Reply(200, [], orjson.dumps(made))

    def _count(self, call: Call) -> None:
        call.record.usage = Usage(call.facts.prompt_chars, 1)


@pytest.fixture
def inner() -> Inner:
    return Inner()


def a_call(
    prompt: Any, *, stream: bool = False, kind: str = "ollama", dialect: Dialect = COMPLETIONS
) -> Call:
    body = {"model": "m", "prompt": prompt, "stream": stream, "messages": [{"role": "user", "content": "x"}]}
    provider = Provider(id=1, name="p", kind=KINDS[kind], base_url="http://x", timeouts=Timeouts())
    return Call(
        dialect=dialect,
        raw=orjson.dumps(body),
        body=body,
        facts=dialect.facts(body),
        caller=ApiKey(1, "gw-test", b"", Team(1, "default")),
        snapshot=Snapshot(revision=1),
        record=Record(request_id="req_1", surface="completions", started=time.monotonic()),
        headers={},
        target=Target(1, provider),
    )


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


PROMPTS = [f"p{number}" for number in range(PARALLEL * 2 + 1)]


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


# -- Streams


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


async def test_a_fault_in_a_stream_is_the_doors(inner: Inner) -> None:
    call, body = await begun(inner, [*"abcd", "e"])
    inner.failures["e"] = RuntimeError("a fault")
    with pytest.raises(RuntimeError, match="a fault"):
        assert [piece async for piece in body]
    call.close()
    await body.aclose()
    assert len(asyncio.all_tasks()) == 1
