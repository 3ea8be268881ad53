"""Golden files: cases as data beside the tests, each with what went in and what must come out.

`python -m dialects.tests.golden_files` writes the outcomes anew from the code; the diff is then for a
reader to judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from dialects.chat_via_messages import ChatViaMessages
from dialects.errors import GatewayError
from dialects.messages_via_chat import MessagesViaChat
from dialects.responses_via_chat import ResponsesViaChat
from dialects.sse import SseFramer
from dialects.table import DIALECTS, TRANSLATORS
from dialects.types import Event, ModelFacts, Translator

FOLDER = Path(__file__).parent / "golden"
PAIRS: dict[str, Callable[[], Translator]] = {
    "chat_via_messages": ChatViaMessages,
    "messages_via_chat": MessagesViaChat,
    "responses_via_chat": ResponsesViaChat,
    "responses_via_messages": TRANSLATORS["responses", "messages"],
}
_IDS = re.compile(r"^(chatcmpl-|msg_|toolu_|call_|resp_|rs_|fc_|ctc_)[0-9a-f]{24}$")
_TIMES = ("created", "created_at", "completed_at")
_TURN = {"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": "hi"}]}
MINIMAL: dict[str, dict[str, Any]] = {
    "chat": _TURN,
    "messages": _TURN,
    "responses": {"model": "m", "input": "hi"},
}


def load(pair: str, part: str) -> list[dict[str, Any]]:
    """The cases of a pair; `part` is "requests", "answers" or "streams"."""
    cases: list[dict[str, Any]] = orjson.loads((FOLDER / f"{pair}.{part}.json").read_bytes())
    return cases


def model(case: dict[str, Any]) -> ModelFacts:
    given = case.get("model", "")
    if isinstance(given, dict):
        return ModelFacts(**{**given, "capabilities": frozenset(given.get("capabilities", ()))})
    return ModelFacts(given)


def run_request(pair: str, case: dict[str, Any]) -> dict[str, Any]:
    """What the provider is sent, and what was dropped; or the refusal."""
    translator = PAIRS[pair]()
    try:
        DIALECTS[pair.partition("_")[0]].facts(case["request"])
        sent = translator.request(case["request"], model(case))
    except GatewayError as error:
        return {"refused": error.message, "param": error.detail.param}
    return {"upstream": sent, "dropped": list(translator.dropped)}


def prepared(pair: str, case: dict[str, Any]) -> Translator:
    """A translator that has made the case's request, a minimal one if it has none."""
    translator = PAIRS[pair]()
    translator.request({**MINIMAL[pair.partition("_")[0]], **case.get("request", {})}, model(case))
    return translator


def run_answer(pair: str, case: dict[str, Any]) -> dict[str, Any]:
    """The client's answer for a provider's; or the refusal."""
    try:
        return {"answer": stable(prepared(pair, case).response(case["upstream"]))}
    except GatewayError as error:
        return {"refused": error.code}


def run_stream(pair: str, case: dict[str, Any]) -> dict[str, Any]:
    """The client's events for a provider's, `[name, data]` each; an error ends them."""
    translator = prepared(pair, case)
    tap = DIALECTS[pair.rpartition("_")[2]].tap(strip_usage=False)
    out = b""
    error = None
    try:
        for given in case["upstream"]:
            event = as_event(given)
            tap.see(event)
            out += translator.event(event)
        if tap.finished:
            out += translator.finish()
    except GatewayError as failure:
        error = failure.code
    result: dict[str, Any] = {"events": [as_pair(e) for e in SseFramer().feed(out)]}
    if error:
        result["error"] = error
    return result


def as_event(given: Any) -> Event:
    """An upstream event of a golden file: an object, or "[DONE]"."""
    data = given.encode() if isinstance(given, str) else orjson.dumps(given)
    name = given.get("type", "") if isinstance(given, dict) else ""
    return Event(name, data, b"data: " + data + b"\n\n")


def as_pair(event: Event) -> list[Any]:
    if event.data == b"[DONE]":
        return ["", "[DONE]"]
    return [event.name, stable(event.json())]


def stable(value: Any) -> Any:
    """The same with made-up ids and times replaced, so that two runs agree."""
    if isinstance(value, dict):
        return {k: 0 if k in _TIMES and v else stable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [stable(v) for v in value]
    if isinstance(value, str):
        return _IDS.sub(r"\1made", value)
    return value


RUNNERS: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
    "requests": run_request,
    "answers": run_answer,
    "streams": run_stream,
}


def rewrite() -> None:
    """Write every outcome anew."""
    for pair in PAIRS:
        for part, run in RUNNERS.items():
            path = FOLDER / f"{pair}.{part}.json"
            cases = [{**case, "expect": run(pair, case)} for case in load(pair, part)]
            path.write_bytes(orjson.dumps(cases, option=orjson.OPT_INDENT_2) + b"\n")


if __name__ == "__main__":
    rewrite()
