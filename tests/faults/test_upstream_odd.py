"""U13, U17, U18, U27 and U30 to U32: providers that are odd but right. Their answers arrive and are counted.

More forms of each, and byte for byte, are in pipeline/tests/test_good_streams.py and beside it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import brotli
import orjson
import pytest
from backports import zstd

from tests.faults.trial import ALL_STREAMS, SSE_STREAMS, STREAMS, Charge, Trial, on
from tests.support.surfaces import CHAT_OPENAI, MESSAGES_OPENAI
from tests.support.upstream.script import (
    Answer,
    Close,
    Json,
    OneByteSegments,
    Send,
    SendHead,
    Sse,
    Stage,
    Step,
)

# Not ASCII, beyond the basic plane, and with the separators that text decoders take for ends of lines.
ODD = "žluťoučký 🐎\u2028next\u2029and\u0085last"


@dataclass(frozen=True, slots=True)
class Own:
    """The provider's own stream, its bytes sent in another way."""

    way: Callable[[bytes], Step]
    head: SendHead | None = None

    async def run(self, stage: Stage) -> None:
        reply = stage.default()
        await (self.head or SendHead(reply.status, reply.headers)).run(stage)
        await self.way(b"".join(reply.frames or [])).run(stage)


@SSE_STREAMS
def test_u13_a_whole_answer_where_a_stream_was_asked(trial: Trial) -> None:
    if trial.pair.upstream == "completions":
        pytest.skip("told in pipeline/tests/test_whole_instead_of_stream.py")
    whole = _whole(trial)
    trial.does(Json(200, whole))
    trial.alone()
    trial.answers()


def _whole(trial: Trial) -> Any:
    """The provider's answer as if no stream had been asked for."""
    kept: list[bytes] = []

    class Keep:
        async def run(self, stage: Stage) -> None:
            kept.append(stage.default().body)
            await Answer().run(stage)

    trial.does(Keep(), times=1)
    trial.alone()
    trial.stream = False
    trial.answers()
    trial.stream = True
    return kept[0]


@ALL_STREAMS
def test_u17_segments_of_one_byte(trial: Trial) -> None:
    trial.does(Own(OneByteSegments))
    trial.alone()
    trial.answers()


@SSE_STREAMS
@pytest.mark.parametrize("end", [b"\r", b"\r\n"], ids=["CR", "CRLF"])
def test_u18_other_ends_of_lines(trial: Trial, end: bytes) -> None:
    trial.does(Own(lambda raw: Send(b"\xef\xbb\xbf" + (b": hello\n\n" + raw).replace(b"\n", end))))
    trial.alone()
    trial.answers()


@on((CHAT_OPENAI, MESSAGES_OPENAI), True)
@pytest.mark.parametrize("cut", [Send, OneByteSegments])
def test_u18_characters_that_decoders_trip_over(trial: Trial, cut: Callable[[bytes], Step]) -> None:
    events = [
        {"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"content": ODD}}]},
        {"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    raw = b"".join(b"data:" + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    trial.does(SendHead(200, {"content-type": "text/event-stream"}), cut(raw))
    trial.alone()
    trial.answers(ODD, "partial")


@SSE_STREAMS
@pytest.mark.parametrize(
    ("coding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", brotli.compress), ("zstd", zstd.compress)],
)
def test_u27_a_compressed_stream(trial: Trial, coding: str, pack: Callable[[bytes], bytes]) -> None:
    head = SendHead(200, {"content-type": "text/event-stream", "content-encoding": coding})
    trial.does(Own(lambda raw: Send(pack(raw)), head))
    trial.alone()
    trial.answers()
    assert trial.fake.last.header("accept-encoding") == "identity"


@ALL_STREAMS
def test_u30_http_1_0_and_a_body_that_ends_with_its_connection(trial: Trial) -> None:
    media = "application/x-ndjson" if trial.pair.upstream == "ollama" else "text/event-stream"
    trial.does(Own(Send, SendHead(200, {"content-type": media}, "none", "1.0")), Close())
    trial.alone()
    trial.answers()


USAGES: dict[str, tuple[Any, Charge, int]] = {
    "missing": (None, "partial", 0),
    "zero": ({"prompt_tokens": 0, "completion_tokens": 0}, "provider", 0),
    "negative": ({"prompt_tokens": -5, "completion_tokens": 7}, "partial", 0),
    "huge": ({"prompt_tokens": 1 << 60, "completion_tokens": 1}, "provider", (1 << 53) + 1),
    "text": ({"prompt_tokens": "5", "completion_tokens": "7"}, "partial", 0),
}


@on((CHAT_OPENAI, MESSAGES_OPENAI))
@pytest.mark.parametrize("name", USAGES)
def test_u31_usage_that_cannot_be_right(trial: Trial, name: str) -> None:
    usage, charge, charged = USAGES[name]
    said = {"id": "x", "model": "gpt-4o", "created": 1}
    choice = {"index": 0, "finish_reason": "stop"}
    if trial.stream:
        trial.does(Sse([
            said | {"choices": [{"index": 0, "delta": {"content": "hello there"}}]},
            said | {"choices": [choice | {"delta": {}}]}, said | {"choices": [], "usage": usage}, "[DONE]",
        ]))  # fmt: skip
    else:
        message = {"role": "assistant", "content": "hello there"}
        body = said | {"object": "chat.completion", "usage": usage}
        trial.does(Json(200, body | {"choices": [choice | {"message": message}]}))
    trial.alone()
    answer = trial.ask()
    trial.check_good(answer, "hello there")
    if charge == "provider":
        assert trial.live.wait_record().usage is not None
        assert trial.charged() == charged
    else:
        trial.over([("first", "ok", "ok")], 200, "", "partial" if trial.stream else "guess")


@STREAMS
def test_u32_more_after_the_end(trial: Trial) -> None:
    more = b'data: {"choices":[{"index":0,"delta":{"content":"MORE"}}]}\n\ndata: no json\n\n'
    trial.does(Answer(), Send(more), times=1)
    trial.alone()
    assert b"MORE" not in trial.answers().raw
    trial.answers()
