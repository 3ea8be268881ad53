"""Message threads: the SDK asks the provider to keep the conversation, and mends it where none is kept."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import BadRequestError, NotFoundError, beta_tool

from tests.e2e.prompts import user
from tests.e2e.sdks import KINDS, MODELS, PATHS, Kind, Stage
from tests.support.upstream.script import Json

every_kind = pytest.mark.parametrize("kind", KINDS)


@beta_tool
def weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"21 degrees in {city}"


@every_kind
def test_a_tool_runner_goes_on_without_a_thread(stage: Stage, kind: Kind) -> None:
    runner = stage.sdks.anthropic.beta.messages.tool_runner(
        model=MODELS[kind], max_tokens=500, messages=user('call:weather {"city": "Ulm"}'), tools=[weather]
    )
    (block,) = runner.until_done().content
    assert block.type == "text"
    assert block.text == "The tool said: 21 degrees in Ulm"
    # The request that ended the loop had all of the conversation in it.
    assert len(stage.sent["messages"]) == 3
    assert "thread" not in stage.sent


@pytest.mark.parametrize("kind", ["openai", "ollama"])
@pytest.mark.parametrize(
    ("thread", "messages"),
    [
        pytest.param({"type": "create"}, user("Hello"), id="create"),
        pytest.param({"type": "continue", "previous_message_id": "msg_1"}, user("Hello"), id="continue"),
        pytest.param({"type": "continue", "previous_message_id": "msg_1"}, [], id="resume"),
    ],
)
def test_another_dialect_refuses_a_kept_conversation(
    stage: Stage, kind: Kind, thread: Any, messages: Any
) -> None:
    with pytest.raises(BadRequestError) as caught:
        stage.sdks.anthropic.beta.messages.create(
            model=MODELS[kind], max_tokens=500, messages=messages, thread=thread
        )
    body: Any = caught.value.body
    assert body["error"]["details"] == {"error_code": "thread_unsupported_request"}
    assert body["error"]["message"].startswith("thread: ")
    assert stage.fake.requests == []


def test_the_provider_keeps_the_conversation_and_says_when_it_has_lost_it(stage: Stage) -> None:
    lost = {
        "type": "not_found_error",
        "message": "No such thread",
        "details": {"error_code": "thread_not_found"},
    }
    stage.fake.script(PATHS["anthropic"], [Json(404, {"type": "error", "error": lost})], check=False)
    with pytest.raises(NotFoundError) as caught:
        stage.sdks.anthropic.beta.messages.create(
            model=MODELS["anthropic"],
            max_tokens=500,
            messages=[],
            thread={"type": "continue", "previous_message_id": "msg_1"},
            betas=["message-threads-2026-08-12"],
        )
    sent = stage.fake.last
    assert sent.json["thread"] == {"type": "continue", "previous_message_id": "msg_1"}
    assert sent.header("anthropic-beta") == "message-threads-2026-08-12"
    body: Any = caught.value.body
    assert body["error"]["details"] == {"error_code": "thread_not_found"}
