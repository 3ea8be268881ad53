"""Plays one cell of the matrix: the SDK asks, and what it returned and what the provider received is told in
a form that is the same in every run."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import anthropic
import openai

from tests.e2e.matrix.scenarios import ASKED, CACHED, LOOP, Body, further
from tests.e2e.matrix.upstreams import BEFORE, ERRORS, FAULTS, UPSTREAMS, first, refusal, target
from tests.e2e.sdks import Stage
from tests.support.upstream.script import Answer, Json, Step, WaitFor

# What each SDK's method wants by name; the rest of a body goes beside.
_REQUIRED = {
    "chat": ("messages",),
    "messages": ("messages", "max_tokens"),
    "responses": ("input",),
    "completions": ("prompt",),
    "embeddings": ("input",),
}
_IDS = re.compile(r"\b(chatcmpl-|cmpl-|msg_|toolu_|call_|resp_|rs_|fc_|ctc_|req_)[0-9A-Za-z_]{8,}\b")
_TIMES = ("created", "created_at", "completed_at")
# What a reply tells of itself in headers.
_TELLING = ("x-gateway-dropped", "x-should-retry", "retry-after", "retry-after-ms")
_MOST = 120
# No answer has it, so it tells one from a refusal.
_REFUSED = "refused by the gateway"
_STATUS_ERRORS = (openai.APIStatusError, anthropic.APIStatusError)
_BROKEN = (openai.APIError, anthropic.APIError)


def steady(value: Any) -> Any:
    """The same with made-up ids and times replaced, and long texts by their length."""
    if isinstance(value, Mapping):
        return {k: 0 if k in _TIMES and v else steady(v) for k, v in value.items()}
    if isinstance(value, list):
        return [steady(v) for v in value]
    if isinstance(value, str):
        value = _IDS.sub(r"\1made", value)
        return value if len(value) <= _MOST else f"{value[:24]}… {len(value)} characters"
    return value


def scenario(stage: Stage, client: str, upstream: str, name: str) -> Body:
    """What becomes of one request, whole and as a stream: `sent` to the provider, `dropped` by name, the
    `answer`, and the `events` of a stream; or the `refused` request's error."""
    body = {**ASKED[client][name], **UPSTREAMS[upstream].also}
    answer: Any = None
    before: Body = {}
    if name == LOOP or name in CACHED:
        _ready(stage, upstream, name)
        answer, _ = _asked(stage, client, body)
        if _REFUSED not in answer:
            before = {"first": steady(answer)}
            body = further(client, body, answer) if name == LOOP else body
    whole = _outcome(stage, client, upstream, name, body)
    if client == "embeddings":
        return {**before, **whole}
    body = {**body, "stream": True}
    if name in CACHED and client in ("chat", "completions"):
        body["stream_options"] = {"include_usage": True}
    streamed = _outcome(stage, client, upstream, name, body)
    if "refused" in whole:
        assert streamed["refused"] == whole["refused"], "a stream that cannot begin is refused like an answer"
        return whole
    assert streamed["dropped"] == whole["dropped"]
    same = {k: v for k, v in whole["sent"].items() if k not in ("stream", "stream_options")}
    assert {k: v for k, v in streamed["sent"].items() if k not in ("stream", "stream_options")} == same
    return {**before, **whole, "events": streamed["answer"]}


def error(stage: Stage, client: str, upstream: str, name: str) -> Body:
    """What the client is told of a provider's refusal, whole and before a stream."""
    status, message, word, code, headers = ERRORS[name]
    steps = [Json(status, refusal(upstream, message, word, code), headers)]
    return _refused(stage, client, upstream, steps)


def first_event(stage: Stage, client: str, upstream: str) -> Body:
    """What a client is told whose stream begins with an error."""
    _ready(stage, upstream, "text", first(upstream))
    body = {**ASKED[client]["text"], **UPSTREAMS[upstream].also, "stream": True}
    told, _ = _asked(stage, client, body)
    return {"refused": steady(told[_REFUSED])}


def broken(stage: Stage, client: str, upstream: str, name: str) -> Body:
    """How a stream ends that breaks off after some text: the SDK's exception, or the last event."""
    begun = threading.Event()
    _ready(stage, upstream, "text", [Answer(events=BEFORE), WaitFor(begun), *FAULTS[name](upstream)])
    long = ASKED[client]["length stop"]
    cap = "max_output_tokens" if client == "responses" else "max_tokens"
    body = {**long, cap: 400, **UPSTREAMS[upstream].also, "stream": True}
    last: Any = None
    try:
        for event in _call(stage, client, body).parse():
            if _text(client, event):
                begun.set()
            last = event
    except _BROKEN as failure:
        return {"raised": type(failure).__name__, "body": steady(failure.body)}
    told = last.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)
    assert told["type"] == "response.failed", "only responses may end without an exception"
    response = told["response"]
    return {"last": told["type"], "status": response["status"], "error": response["error"]}


def _refused(stage: Stage, client: str, upstream: str, steps: Sequence[Step]) -> Body:
    body = {**ASKED[client]["text"], **UPSTREAMS[upstream].also}
    told = []
    for way in ({}, {"stream": True}) if client != "embeddings" else ({},):
        _ready(stage, upstream, "text", steps)
        answer, _ = _asked(stage, client, {**body, **way})
        told.append(steady(answer[_REFUSED]))
    assert told[0] == told[-1]
    return {"refused": told[0]}


def _ready(stage: Stage, upstream: str, name: str, steps: Iterable[Step] | None = None) -> None:
    """The gateway's only route leads to this upstream, which answers by these steps."""
    gateway = stage.gateway
    gateway.forget()
    gateway.use(gateway.snapshot([gateway.route("*", target(gateway, upstream, name))]))
    if steps is not None:
        stage.fake.reset()
        stage.fake.script("", list(steps), check=False)


def _outcome(stage: Stage, client: str, upstream: str, name: str, body: Body) -> Body:
    _ready(stage, upstream, name)
    before = len(stage.fake.requests)
    answer, headers = _asked(stage, client, body)
    received = stage.fake.requests[before:]
    if not received:
        return {"refused": steady(answer[_REFUSED])}
    last = received[-1]
    if client != upstream:
        assert last.refusal is None, f"the provider refuses what was made of it: {last.refusal}"
    sent = dict(last.json)
    if _REFUSED in answer:
        return {"sent": steady(sent), "dropped": headers, "refused": steady(answer[_REFUSED])}
    return {"sent": steady(sent), "dropped": headers, "answer": steady(answer)}


def _asked(stage: Stage, client: str, body: Body) -> tuple[Any, str | None]:
    """The SDK's answer, or all events of its stream, or what was raised; and what was dropped."""
    try:
        raw = _call(stage, client, body)
        answer = raw.parse()
        dropped = raw.headers.get("x-gateway-dropped")
        if body.get("stream"):
            return [_plain(event) for event in answer], dropped
        return _plain(answer), dropped
    except _STATUS_ERRORS as failure:
        headers = failure.response.headers
        told = {
            "raised": type(failure).__name__,
            "status": failure.status_code,
            "body": failure.response.json(),
            "headers": {name: headers[name] for name in _TELLING if name in headers},
        }
        return {_REFUSED: told}, headers.get("x-gateway-dropped")


def _call(stage: Stage, client: str, body: Body) -> Any:
    sdks = stage.sdks
    methods: Mapping[str, Any] = {
        "chat": sdks.openai.chat.completions,
        "messages": sdks.anthropic.messages,
        "responses": sdks.openai.responses,
        "completions": sdks.openai.completions,
        "embeddings": sdks.openai.embeddings,
    }
    named = {name: body[name] for name in (*_REQUIRED[client], "stream") if name in body}
    beside = {name: value for name, value in body.items() if name not in named}
    return methods[client].with_raw_response.create(model="alias", **named, extra_body=beside)


def _plain(answer: Any) -> Any:
    return answer.model_dump(mode="json", by_alias=True, exclude_unset=True, warnings=False)


def _text(client: str, event: Any) -> bool:
    if client in ("chat", "completions"):
        choice = event.choices[0]
        assert choice.finish_reason is None, "a broken answer has no reason to finish"
        return bool(choice.delta.content if client == "chat" else choice.text)
    assert event.type not in ("message_delta", "message_stop", "response.completed", "response.incomplete")
    return event.type in ("content_block_delta", "response.output_text.delta")
