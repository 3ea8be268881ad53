"""Where client and provider speak the same dialect, what each says reaches the other byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import pytest

from tests.e2e.prompts import user
from tests.e2e.sdks import Stage
from tests.support.fake_upstream import Match
from tests.support.surfaces import send
from tests.support.upstream.script import Json, Raw, Send, SendHead

# No serializer writes JSON like this: spaces, line breaks, order, escapes, texts of numbers, unknown fields.
_TAIL = (
    b'"temperature" : 1.00,\r\n\t"max_tokens":500 , "future":{"z":1,"a":[1.0,1e2,-0.0,12345678901234567890]},'
    b'\n "messages" : [ {"content":"caf\\u00e9 \\/ \\ud83d\\udc0e \xe2\x80\xa8", "role":"user"} ],'
    b'"stream":%b }'
)


class Surface(NamedTuple):
    """An endpoint whose dialect the provider itself speaks."""

    path: str
    model: bytes
    tail: bytes = _TAIL

    def body(self, *, stream: bool = False) -> bytes:
        told = b"true" if stream else b"false"
        return b'{ "model" :"' + self.model + b'",  ' + self.tail.replace(b"%b", told)


CHAT = Surface("/v1/chat/completions", b"gpt-4o")
MESSAGES = Surface("/v1/messages", b"claude-opus-4-5")
COMPLETIONS = Surface(
    "/v1/completions", b"gpt-3.5-turbo-instruct", b'"prompt" : "caf\\u00e9 \\/" ,"stream":%b }'
)
EMBEDDINGS = Surface(
    "/v1/embeddings", b"text-embedding-3-small", b'"input": ["a\\u0062" , "c"], "encoding_format":"float"}'
)
SURFACES = [CHAT, MESSAGES, COMPLETIONS, EMBEDDINGS]
every_surface = pytest.mark.parametrize("surface", SURFACES, ids=lambda surface: surface.path)

# An answer that no serializer would write either, and with fields that nobody knows yet.
ANSWERS: Mapping[str, bytes] = {
    CHAT.path: b'{"usage" : {"prompt_tokens":3,"total_tokens":5,"completion_tokens":2, "new":1.50},\n'
    b' "choices":[ {"message":{"content":"\\u00e9\\/ \xe2\x80\xa8","role":"assistant","odd":[]},'
    b'"index":0,"finish_reason":"stop"}], "object":"chat.completion","id":"x","created":1e9,"model":"m" }\n',
    MESSAGES.path: b'{"usage" : {"output_tokens":2,"input_tokens":3, "new":1.50}, "stop_reason":"end_turn",\n'
    b' "content":[ {"text":"\\u00e9\\/ \xe2\x80\xa8","type":"text"},{"type":"from_the_future","x":1.0}],'
    b'"type":"message","role":"assistant","id":"x","model":"m" }\n',
    COMPLETIONS.path: b'{"choices":[{"text":"\\u00e9","index":0,"finish_reason":"stop"}], "odd":1.0,\n'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5},"object":"text_completion"}',
    EMBEDDINGS.path: b'{"object":"list","data":[{"index":0,"embedding":[1.0, 0.10,-1e-3],"odd":null}],\n'
    b'"usage":{"prompt_tokens":3,"total_tokens":3},"model":"m"}',
}
CHAT_STREAM = (
    b': a comment\n\ndata:{"choices":[{"delta":{"content":"\\u00e9 \xe2\x80\xa8","odd":1.0},"index":0}] }\n\n'
    b'id: 7\ndata: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],  "future":{}}\r\n\r\n'
    b"data: [DONE]\n\n"
)
MESSAGES_STREAM = (
    b'event: message_start\ndata: {"message":{"usage":{"input_tokens":3,"output_tokens":1}},'
    b'  "type":"message_start"}\n\nevent: ping\ndata: {"type": "ping"}\n\nevent: from_the_future\n'
    b'data: {"type":"from_the_future","x":1.0}\n\nevent:content_block_start\ndata:{"type":'
    b'"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\nevent: '
    b'content_block_delta\r\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":"\\u00e9 \xe2\x80\xa8"}}\r\n\r\nevent: content_block_stop\ndata: {"index":0, '
    b'"type":"content_block_stop"}\n\nevent: message_delta\ndata: {"type":"message_delta","usage":'
    b'{"output_tokens":2},"delta":{"stop_reason":"end_turn"}}\n\nevent: message_stop\n'
    b'data: {"type":"message_stop"}\n\n'
)
STREAMS = {CHAT.path: CHAT_STREAM, MESSAGES.path: MESSAGES_STREAM, COMPLETIONS.path: CHAT_STREAM}


def post(stage: Stage, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    status, _, reply = send(stage.gateway, "POST", path, body, headers)
    assert status == 200
    return reply


@every_surface
def test_a_whole_exchange(stage: Stage, surface: Surface) -> None:
    body, answer = surface.body(), ANSWERS[surface.path]
    stage.fake.script("", [Json(200, answer)], check=False)
    assert post(stage, surface.path, body) == answer
    assert stage.fake.last.body == body
    usage = stage.gateway.wait_record().usage
    assert usage is not None
    assert (usage.input_tokens, usage.source) == (3, "provider")


@pytest.mark.parametrize("size", [1, 7, 10_000], ids=lambda size: f"pieces-of-{size}")
@pytest.mark.parametrize("path", list(STREAMS))
def test_a_stream(stage: Stage, path: str, size: int) -> None:
    surface = next(surface for surface in SURFACES if surface.path == path)
    answer = STREAMS[path]
    head = SendHead(200, [("content-type", "text/event-stream")])
    pieces = [Send(answer[at : at + size]) for at in range(0, len(answer), size)]
    stage.fake.script("", [head, *pieces], check=False)
    reply = post(stage, path, surface.body(stream=True))
    # Comments may keep a connection awake; they say nothing and may be left out.
    assert reply.removeprefix(b": a comment\n\n") == answer.removeprefix(b": a comment\n\n")


def test_only_the_wish_for_usage_is_added_to_a_stream(stage: Stage) -> None:
    body = CHAT.body(stream=True)
    stage.fake.script(
        "", [SendHead(200, [("content-type", "text/event-stream")]), Send(CHAT_STREAM)], check=False
    )
    post(stage, CHAT.path, body)
    # Field by field, each with the very bytes of its value.
    sent, given = (
        msgspec.json.decode(raw, type=dict[str, msgspec.Raw]) for raw in (stage.fake.last.body, body)
    )
    assert bytes(sent.pop("stream_options")) == b'{"include_usage":true}'
    assert [(name, bytes(raw)) for name, raw in sent.items()] == [
        (name, bytes(raw)) for name, raw in given.items()
    ]


def test_messages_need_no_such_wish(stage: Stage) -> None:
    body = MESSAGES.body(stream=True)
    stage.fake.script(
        "", [SendHead(200, [("content-type", "text/event-stream")]), Send(MESSAGES_STREAM)], check=False
    )
    post(stage, MESSAGES.path, body)
    assert stage.fake.last.body == body


def test_a_bom_is_no_part_of_the_body(stage: Stage) -> None:
    stage.fake.script("", [Json(200, ANSWERS[CHAT.path])], check=False)
    post(stage, CHAT.path, b"\xef\xbb\xbf" + CHAT.body())
    assert stage.fake.last.body == CHAT.body()


# -- headers

BETAS = "context-management-2025-06-27,interleaved-thinking-2025-05-14"
CLIENT_HEADERS = {
    "cookie": "session=canary",
    "x-forwarded-for": "10.9.8.7",
    "x-forwarded-host": "canary.example",
    "x-forwarded-proto": "https",
    "forwarded": "for=10.9.8.7",
    "x-real-ip": "10.9.8.7",
    "proxy-authorization": "Basic canary",
    "openai-organization": "org-canary",
    "openai-project": "proj-canary",
}
ALLOWED = {
    "openai": {"authorization", "openai-beta", "idempotency-key"},
    "anthropic": {"x-api-key", "anthropic-version", "anthropic-beta", "idempotency-key"},
    "ollama": set[str](),
}
ALWAYS = {"host", "content-type", "content-length", "accept", "accept-encoding", "user-agent"}
TARGETS = [
    ("openai", "gpt-4o", "openai"),
    ("openai", "claude-opus-4-5", "anthropic"),
    ("openai", "llama3.2", "ollama"),
    ("anthropic", "gpt-4o", "openai"),
    ("anthropic", "claude-opus-4-5", "anthropic"),
    ("anthropic", "llama3.2", "ollama"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("sdk", "model", "kind"), TARGETS, ids=[f"{row[0]}-{row[2]}" for row in TARGETS])
def test_nothing_of_the_client_but_the_request_reaches_a_provider(
    stage: Stage, sdk: str, model: str, kind: str, stream: bool
) -> None:
    """Neither its key and cookies, nor where it is, nor what the SDK tells of the machine."""
    fields: Any = {"model": model, "messages": user("hi"), "max_tokens": 50, "stream": stream}
    create: Any = stage.sdks.openai.chat.completions.create
    if sdk == "anthropic":
        create = stage.sdks.anthropic.messages.create
    answer = create(**fields, extra_headers=CLIENT_HEADERS)
    if stream:
        with answer:
            assert list(answer)
    received = stage.last
    names = {name.lower() for name, _ in received.headers}
    assert names <= ALWAYS | ALLOWED[kind]
    everything = repr(received.headers) + received.target + received.body.decode()
    for secret in (stage.gateway.key, "canary", "10.9.8.7", "stainless"):
        assert secret not in everything
    credential = f"sk-{kind}-0123456789"
    expected = {"openai": f"Bearer {credential}", "anthropic": credential, "ollama": None}[kind]
    assert received.header("x-api-key" if kind == "anthropic" else "authorization") == expected


def test_betas_and_the_version_reach_anthropic_as_they_are(stage: Stage) -> None:
    stage.sdks.anthropic.messages.create(
        model="claude-opus-4-5",
        max_tokens=50,
        messages=user("hi"),
        extra_headers={"anthropic-beta": BETAS, "idempotency-key": "once"},
        extra_body={"context_management": {"edits": []}},
        extra_query={"beta": "true"},
    )
    assert stage.last.header("anthropic-beta") == BETAS
    assert stage.last.header("anthropic-version") == "2026-10-21"
    assert stage.last.header("idempotency-key") == "once"
    assert stage.sent["context_management"] == {"edits": []}


def test_the_sdks_beta_surface_works(stage: Stage) -> None:
    """`client.beta.messages` asks for /v1/messages?beta=true, as coding agents do."""
    answer = stage.sdks.anthropic.beta.messages.create(
        model="claude-opus-4-5", max_tokens=50, messages=user("say:well"), betas=["context-1m-2025-08-07"]
    )
    (block,) = answer.content
    assert block.type == "text"
    assert block.text == "well"
    assert stage.last.header("anthropic-beta") == "context-1m-2025-08-07"


@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_betas_reach_nobody_else(stage: Stage, kind: str) -> None:
    model = {"openai": "gpt-4o", "ollama": "llama3.2"}[kind]
    stage.sdks.anthropic.messages.create(
        model=model, max_tokens=50, messages=user("hi"), extra_headers={"anthropic-beta": BETAS}
    )
    assert stage.last.header("anthropic-beta") is None
    assert stage.last.header("anthropic-version") is None


def test_a_providers_own_headers_stay_with_it(stage: Stage) -> None:
    for path, create in (
        ("/v1/chat/completions", stage.sdks.openai.chat.completions.with_raw_response.create),
        ("/v1/messages", stage.sdks.anthropic.messages.with_raw_response.create),
    ):
        model = "gpt-4o" if "chat" in path else "claude-opus-4-5"
        raw: Any = create(model=model, max_tokens=50, messages=user("hi"))
        assert "upstream" not in repr(
            [value for name, value in raw.headers.items() if "upstream" not in name]
        )
        assert not [name for name in raw.headers if "ratelimit" in name or "organization" in name]
        assert "set-cookie" not in raw.headers


def test_two_answers_on_one_connection_do_not_mix(stage: Stage) -> None:
    """A provider that sends more than its answer must not be heard by the next caller."""
    more = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    stage.fake.script(Match(nth=1), [Json(200, ANSWERS[CHAT.path]), Raw(more)], check=False)
    assert post(stage, CHAT.path, CHAT.body()) == ANSWERS[CHAT.path]
    answer = stage.sdks.openai.chat.completions.create(model="gpt-4o", messages=user("say:mine"))
    assert answer.choices[0].message.content == "mine"
