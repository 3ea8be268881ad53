"""Where a citation stands, when texts are joined into one and when one is taken apart."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from dialects.as_stream import AS_STREAM
from dialects.tests.judges import is_response_event
from dialects.tests.pair_support import asked, carried, sse

Body = dict[str, Any]

ASKED: dict[str, Body] = {
    "chat": {"messages": [{"role": "user", "content": "x"}]},
    "responses": {"input": "x"},
}
LINK = {"url": "https://example.com", "title": "t"}
WAYS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def _frames(client: str, upstream: str, answer: Body) -> list[tuple[str, Any]]:
    translator, _ = asked(client, upstream, {**ASKED[client], "stream": True}, "m")
    frames, finished = carried(translator, upstream, [AS_STREAM[upstream](answer)])
    assert finished
    return sse(frames)


def _of_chat(upstream: str, answer: Body, *, stream: bool) -> tuple[str, list[str]]:
    """A chat client's text, and what of it is cited."""
    if not stream:
        translator, _ = asked("chat", upstream, ASKED["chat"], "m")
        said = [translator.response(answer)["choices"][0]["message"]]
    else:
        chunks = [data for _, data in _frames("chat", upstream, answer) if data != "[DONE]"]
        said = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    text = "".join(one.get("content") or "" for one in said)
    cited = [a["url_citation"] for one in said for a in one.get("annotations") or ()]
    return text, [text[c["start_index"] : c["end_index"]] for c in cited]


def _of_responses(upstream: str, answer: Body, *, stream: bool) -> list[tuple[str, list[str]]]:
    """The texts of a responses client, each with what of it is cited."""
    if stream:
        output = _frames("responses", upstream, answer)[-1][1]["response"]["output"]
    else:
        translator, _ = asked("responses", upstream, ASKED["responses"], "m")
        output = translator.response(answer)["output"]
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    return [
        (p["text"], [p["text"][a["start_index"] : a["end_index"]] for a in p["annotations"]]) for p in parts
    ]


def _responses(*texts: tuple[str, str]) -> Body:
    """A response with a message for each text and what of it is cited."""
    output = []
    for number, (text, cited) in enumerate(texts):
        at = text.index(cited)
        note = {"type": "url_citation", **LINK, "start_index": at, "end_index": at + len(cited)}
        part = {"type": "output_text", "text": text, "annotations": [note] if cited else [], "logprobs": []}
        message = {"id": f"msg_{number}", "type": "message", "status": "completed", "role": "assistant"}
        output.append({**message, "content": [part, {**part, "text": "ž🐎", "annotations": []}]})
    return {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": output}


def _messages(*blocks: Body) -> Body:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": list(blocks)}
    usage = {"input_tokens": 1, "output_tokens": 1}
    reason = "tool_use" if any(b["type"] == "tool_use" for b in blocks) else "end_turn"
    return {**head, "stop_reason": reason, "stop_sequence": None, "usage": usage}


def _said(text: str, *, cited: bool = False) -> Body:
    place = {"type": "web_search_result_location", **LINK, "cited_text": "c", "encrypted_index": "e"}
    return {"type": "text", "text": text, "citations": [place] if cited else None}


CALL: Body = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}


@WAYS
def test_parts_of_a_response_become_one_text(stream: bool) -> None:
    answer = _responses(("Ulm is wet. ", "wet"), ("Žilina 🐎 is dry.", "dry"), ("Bye.", ""))
    text, cited = _of_chat("responses", answer, stream=stream)
    assert text == "Ulm is wet. ž🐎Žilina 🐎 is dry.ž🐎Bye.ž🐎"
    assert cited == ["wet", "dry"]


@WAYS
def test_blocks_of_anthropic_become_one_text(stream: bool) -> None:
    answer = _messages(_said("Ž🐎 "), _said("wet", cited=True), _said(", and "), _said("dry", cited=True))
    assert _of_chat("messages", answer, stream=stream) == ("Ž🐎 wet, and dry", ["wet", "dry"])


@WAYS
def test_each_message_of_a_response_counts_from_its_own_beginning(stream: bool) -> None:
    answer = _messages(_said("Ž🐎 "), _said("wet", cited=True), CALL, _said("Now "), _said("dry", cited=True))
    told = _of_responses("messages", answer, stream=stream)
    assert told == [("Ž🐎 wet", ["wet"]), ("Now dry", ["dry"])]


@WAYS
def test_a_refusal_after_a_text_that_cites(stream: bool) -> None:
    note = {"type": "url_citation", "url_citation": {**LINK, "start_index": 7, "end_index": 10}}
    message = {"role": "assistant", "content": "Ulm is wet", "refusal": "No.", "annotations": [note]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    if stream:
        output = _frames("responses", "chat", answer)[-1][1]["response"]["output"]
    else:
        translator, _ = asked("responses", "chat", ASKED["responses"], "m")
        output = translator.response(answer)["output"]
    (made,) = output
    assert [part["type"] for part in made["content"]] == ["output_text", "refusal"]
    (cited,) = made["content"][0]["annotations"]
    assert (cited["start_index"], cited["end_index"]) == (7, 10)


def _chunks(*deltas: Body) -> bytes:
    """A stream of chat with these deltas."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices: list[Body] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks = b"".join(b"data: %b\n\n" % orjson.dumps({**head, "choices": [one]}) for one in choices)
    return chunks + b"data: [DONE]\n\n"


CITED: Body = {
    "annotations": [{"type": "url_citation", "url_citation": {**LINK, "start_index": 7, "end_index": 10}}]
}
TOLD: Body = {"content": "Ulm is wet"}
DECLINED: Body = {"refusal": "No."}
CALLED: Body = {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("deltas", "kinds", "cited"),
    [
        ((TOLD, CITED), [["output_text"]], 1),
        ((TOLD, DECLINED, CITED), [["output_text", "refusal"]], 1),
        ((TOLD, CALLED, CITED), [["output_text"]], 1),
        ((DECLINED, CITED), [["refusal"]], 0),
        ((CITED, TOLD), [["output_text"]], 0),
        ((CALLED, CITED), [], 0),
    ],
    ids=["text", "after a refusal", "after a call", "refusal only", "before the text", "call only"],
)
def test_a_late_citation_is_of_the_text_and_makes_none(
    deltas: tuple[Body, ...], kinds: list[list[str]], cited: int
) -> None:
    translator, _ = asked("responses", "chat", {**ASKED["responses"], "stream": True}, "m")
    frames, finished = carried(translator, "chat", [_chunks(*deltas)])
    assert finished
    events = [data for _, data in sse(frames)]
    output = events[-1]["response"]["output"]
    messages = [item["content"] for item in output if item["type"] == "message"]
    assert [[part["type"] for part in content] for content in messages] == kinds
    told = [event for event in events if event["type"] == "response.output_text.annotation.added"]
    assert len(told) == cited
    notes = [note for content in messages for note in content[0].get("annotations", ())]
    assert [(note["start_index"], note["end_index"]) for note in notes] == [(7, 10)] * cited
    for event in events:
        is_response_event(event)


@pytest.mark.parametrize("place", ["7", None, -3, 1.5])
def test_an_odd_place_is_none(place: Any) -> None:
    note = {"type": "url_citation", **LINK, "start_index": place, "end_index": place}
    answer = _responses(("Ulm", ""))
    answer["output"][0]["content"][0]["annotations"] = [note]
    translator, _ = asked("chat", "responses", ASKED["chat"], "m")
    (cited,) = translator.response(answer)["choices"][0]["message"]["annotations"]
    assert (cited["url_citation"]["start_index"], cited["url_citation"]["end_index"]) == (0, 0)
