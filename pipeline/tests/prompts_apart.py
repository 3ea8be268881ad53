"""What the tests of several prompts share: the stages behind, played by a script, and a call of such."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson

from dialects.completions import COMPLETIONS
from dialects.errors import UPSTREAM_BAD, Detail, GatewayError
from dialects.types import Dialect, Usage
from pipeline.call import Attempt, Call, Record, Reply
from pipeline.fanout import PARALLEL
from providers.kinds import KINDS
from providers.wire import Timeouts
from routing.snapshot import ApiKey, Provider, Snapshot, Target, Team

PROMPTS = [f"p{number}" for number in range(PARALLEL * 2 + 1)]
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
