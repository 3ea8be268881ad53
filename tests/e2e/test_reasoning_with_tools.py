"""OpenAI's newest models take tools together with reasoning by responses only: who is asked how, and what
comes back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import openai
import pytest

from dialects.types import ModelFacts
from providers.kinds import KINDS
from routing.catalogue import Catalogue
from routing.snapshot import CatalogueModel
from tests.e2e.message_ways import WAYS, MessageWay, calls_of, text_of
from tests.e2e.prompts import PLACE, order, user
from tests.e2e.sdks import Sdks, Stage

every_way = pytest.mark.parametrize("ask", [pytest.param(way, id=name) for name, way in WAYS.items()])
whole_and_stream = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])

RESPONSES = "/v1/responses"
CHAT = "/v1/chat/completions"
TOOL: Any = {"name": "weather", "description": "Tells the weather", "input_schema": PLACE}
FUNCTION: Any = {"type": "function", "function": {"name": "weather", "parameters": PLACE}}
PERSON = json.dumps(
    {"device_id": "d" * 64, "account_uuid": "", "session_id": "0f8fad5b-d9cb-469f-a165-70867728950e"}
)


def agents_request(messages: list[Any], **changes: Any) -> dict[str, Any]:
    """What a coding agent of Anthropic's sends, as captured: 24 tools, three blocks of instructions of which
    the first changes each time, thinking, edits of the context, and who asks as JSON in a string."""
    mark = {"cache_control": {"type": "ephemeral"}}
    extra = [{**TOOL, "name": f"Tool{n}"} for n in range(23)]
    return {
        "model": "gpt-5.5",
        "max_tokens": 32000,
        # Else the SDK refuses to wait for so long an answer.
        "timeout": 30,
        "messages": messages,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197; cch=00000;"},
            {"type": "text", "text": "You are an agent.", **mark},
            {"type": "text", "text": "Be brief.", **mark},
        ],
        "tools": [TOOL, *extra],
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "metadata": {"user_id": PERSON},
        "extra_query": {"beta": "true"},
        "extra_body": {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}},
        "extra_headers": {"anthropic-beta": "interleaved-thinking-2025-05-14,context-management-2025-06-27"},
        **changes,
    }


def returned(answer: Any) -> dict[str, Any]:
    """An answer as programs send it back."""
    return {"role": "assistant", "content": answer.model_dump(exclude_none=True)["content"]}


def result(answer: Any, said: str) -> list[Any]:
    uses = [block.id for block in answer.content if block.type == "tool_use"]
    return user([{"type": "tool_result", "tool_use_id": use, "content": said} for use in uses])


@every_way
@pytest.mark.parametrize("model", ["gpt-5.4", "gpt-5.5", "gpt-5.6-mini"])
def test_an_agents_loop_keeps_its_reasoning(stage: Stage, model: str, ask: MessageWay) -> None:
    messages = user("think:first the weather\n" + order(city="Ulm") + "\n" + order(city="Bonn"))
    first = ask(stage.sdks, **agents_request(messages, model=model))
    assert [block.type for block in first.content] == ["thinking", "tool_use", "tool_use"]
    thought: Any = first.content[0]
    assert thought.thinking == "first the weather"
    assert thought.signature.startswith("gw1.")
    assert stage.last.path == RESPONSES
    assert first.usage.output_tokens_details is not None
    assert first.usage.output_tokens_details.thinking_tokens > 0

    messages += [returned(first), *result(first, "sun"), *user("think:now the other\n" + order(city="Köln"))]
    second = ask(stage.sdks, **agents_request(messages, model=model))
    assert calls_of(second) == [("weather", {"city": "Köln"})]
    messages += [returned(second), *result(second, "rain")]
    third = ask(stage.sdks, **agents_request(messages, model=model))
    assert text_of(third) == "The tool said: rain"
    assert third.stop_reason == "end_turn"

    # The provider gets its own reasoning back, each directly before what it led to.
    items = stage.sent["input"]
    kinds = [item["type"] for item in items]
    loop = ["reasoning", "function_call", "function_call", *["function_call_output"] * 2]
    assert kinds == [
        "message",
        "message",
        *loop,
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
    ]
    sealed = [item["encrypted_content"] for item in items if item["type"] == "reasoning"]
    assert len(set(sealed)) == 2
    assert stage.sent["store"] is False
    assert stage.sent["include"] == ["reasoning.encrypted_content"]
    assert stage.sent["reasoning"] == {"effort": "xhigh", "summary": "auto"}
    assert stage.sent["max_output_tokens"] == 32000
    assert len(stage.sent["tools"]) == 24
    words = items[0]["content"]
    if model.startswith("gpt-5.6"):
        assert [part["prompt_cache_breakpoint"] for part in words] == [{"mode": "explicit"}] * 2
        words = "\n\n".join(part["text"] for part in words)
    assert words == "You are an agent.\n\nBe brief."
    assert len(stage.sent["user"]) <= 64


def test_what_an_agent_loses_is_named(stage: Stage) -> None:
    raw = stage.sdks.anthropic.messages.with_raw_response.create(**agents_request(user("hi")))
    assert raw.headers["x-gateway-dropped"] == "cache_control, context_management"


@whole_and_stream
def test_without_tools_chat_is_asked(stage: Stage, streamed: bool) -> None:
    ask = WAYS["stream" if streamed else "whole"]
    answer = ask(
        stage.sdks, model="gpt-5.5", messages=user("say:hi"), thinking=agents_request([])["thinking"]
    )
    assert text_of(answer) == "hi"
    assert stage.last.path == CHAT


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5", "gpt-5.2", "o3-mini", "gpt-5-chat-latest"])
def test_models_that_can_are_asked_by_chat(stage: Stage, model: str) -> None:
    answer = WAYS["whole"](stage.sdks, model=model, messages=user(order(city="Ulm")), tools=[TOOL])
    assert calls_of(answer) == [("weather", {"city": "Ulm"})]
    assert stage.last.path == CHAT


@whole_and_stream
def test_azure_is_asked_by_responses_too(stage: Stage, streamed: bool) -> None:
    # The fake knows OpenAI's own header only.
    kind = replace(KINDS["azure_openai"], auth="bearer")
    azure = replace(stage.gateway.provider("openai"), kind=kind)
    stage.gateway.use(stage.gateway.snapshot([stage.gateway.route("*", azure)]))
    ask = WAYS["stream" if streamed else "whole"]
    answer = ask(stage.sdks, **agents_request(user("think:hm\n" + order(city="Ulm"))))
    assert [block.type for block in answer.content] == ["thinking", "tool_use"]
    assert stage.last.path == RESPONSES


@whole_and_stream
def test_who_has_only_chat_does_not_reason(stage: Stage, streamed: bool) -> None:
    """A server that is called compatible seldom has responses: tools count more than thoughts."""
    server = stage.gateway.provider("openai_compatible")
    stage.gateway.use(stage.gateway.snapshot([stage.gateway.route("*", server)]))
    fields = agents_request(user(order(city="Ulm")))
    raw = stage.sdks.anthropic.messages.with_raw_response.create(**fields, stream=streamed)
    assert "thinking" in raw.headers["x-gateway-dropped"].split(", ")
    raw.parse() if not streamed else list(raw.parse())
    assert stage.last.path == CHAT
    assert stage.sent["reasoning_effort"] == "none"


# -- Clients of chat completions

LOOP: dict[str, Any] = {"model": "gpt-5.5", "tools": [FUNCTION], "messages": user(order(city="Ulm"))}


@whole_and_stream
def test_a_chat_client_gets_the_providers_refusal(stage: Stage, streamed: bool) -> None:
    with pytest.raises(
        openai.BadRequestError, match="use /v1/responses or set reasoning_effort to 'none'"
    ) as told:
        stage.sdks.openai.chat.completions.create(**LOOP, stream=streamed)
    assert told.value.param == "reasoning_effort"
    assert stage.fake.last.path == CHAT


def bridged(stage: Stage) -> None:
    """The operators have said of this model that chat requests with tools go over responses."""
    words = frozenset({"tools_over_responses"})
    row = CatalogueModel("openai", ModelFacts(name="gpt-5*", capabilities=words))
    stage.gateway.use(stage.gateway.snapshot(catalogue=Catalogue([row])))


@whole_and_stream
def test_unless_the_operators_have_asked_for_better(stage: Stage, streamed: bool) -> None:
    bridged(stage)
    chat = _chat_stream if streamed else _chat_whole
    first = chat(stage.sdks, **LOOP, reasoning_effort="high")
    (call,) = first.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Ulm"}
    assert stage.last.path == RESPONSES
    turns = [*LOOP["messages"], first.model_dump(exclude_none=True)]
    turns.append({"role": "tool", "tool_call_id": call.id, "content": "sun"})
    second = chat(stage.sdks, **{**LOOP, "messages": turns}, reasoning_effort="high")
    assert second.content == "The tool said: sun"
    assert [item["type"] for item in stage.sent["input"]][-3:] == [
        "reasoning",
        "function_call",
        "function_call_output",
    ]


def test_and_only_where_there_are_tools(stage: Stage) -> None:
    bridged(stage)
    stage.sdks.openai.chat.completions.create(model="gpt-5.5", messages=user("hi"))
    assert stage.last.path == CHAT


def _chat_whole(sdks: Sdks, **fields: Any) -> Any:
    return sdks.openai.chat.completions.create(**fields).choices[0].message


def _chat_stream(sdks: Sdks, **fields: Any) -> Any:
    blocks: list[Any] = []
    with sdks.openai.chat.completions.stream(**fields) as events:
        for event in events:
            if event.type == "chunk" and event.chunk.choices:
                blocks += getattr(event.chunk.choices[0].delta, "thinking_blocks", None) or []
        message = events.get_final_completion().choices[0].message
    message.thinking_blocks = blocks  # type: ignore[attr-defined]  # a field that others added, as programs add it
    return message


def test_kinds_offer_responses_where_they_have_them() -> None:
    having = {name for name, kind in KINDS.items() if "responses" in kind.dialects("gpt-5.5")}
    assert having == {"openai", "azure_openai"}
