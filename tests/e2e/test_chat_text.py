"""chat.completions by the official SDK, every way, from every provider: text, prompts, stops, usage."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.chat_ways import WAYS, ChatWay
from tests.e2e.prompts import user
from tests.e2e.sdks import KINDS, MODELS, ODD, PATHS, Kind, Stage, prompt_tokens
from tests.support.upstream import mind

every_way = pytest.mark.parametrize("ask", [pytest.param(way, id=name) for name, way in WAYS.items()])
every_kind = pytest.mark.parametrize("kind", KINDS)


@every_way
@every_kind
def test_a_plain_question(stage: Stage, kind: Kind, ask: ChatWay) -> None:
    model = MODELS[kind]
    answer = ask(stage.sdks, model=model, messages=user("Hi there"))
    text = f"Hello from {model}. You said: Hi there"
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", text, "stop")
    assert choice.message.tool_calls is None
    assert choice.message.refusal is None
    assert (answer.object, answer.model) == ("chat.completion", model)
    assert answer.id.startswith("chatcmpl-")
    assert answer.created > 1_700_000_000
    assert stage.last.path == PATHS[kind]
    assert answer.usage is not None
    counts = (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens)
    prompt, said = prompt_tokens(stage.last), mind.tokens(text)
    assert counts == (prompt, said, prompt + said)


TURNS: list[Any] = [*user("one"), {"role": "assistant", "content": "two"}, *user("three")]
SYSTEM = {"role": "system", "content": "Be brief."}
DEVELOPER = {"role": "developer", "content": "Be kind."}
# What the client sends, and what then reaches OpenAI, Ollama, and Anthropic (its `system` and its turns).
PROMPTS: list[Any] = [
    pytest.param([SYSTEM, *user("hi")], [SYSTEM, *user("hi")], (["Be brief."], user("hi")), id="system"),
    pytest.param(
        [DEVELOPER, *user("hi")],
        [{**DEVELOPER, "role": "system"}, *user("hi")],
        (["Be kind."], user("hi")),
        id="developer",
    ),
    pytest.param(
        [SYSTEM, DEVELOPER, *TURNS],
        [SYSTEM, {**DEVELOPER, "role": "system"}, *TURNS],
        (["Be brief.", "Be kind."], TURNS),
        id="both",
    ),
    pytest.param(TURNS, TURNS, ([], TURNS), id="turns"),
]


@pytest.mark.parametrize("ask", [pytest.param(WAYS[name], id=name) for name in ("whole", "stream")])
@pytest.mark.parametrize(("messages", "ollama", "anthropic"), PROMPTS)
@every_kind
def test_prompts_arrive_as_the_provider_takes_them(
    stage: Stage, kind: Kind, messages: list[Any], ollama: Any, anthropic: Any, ask: ChatWay
) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=messages)
    assert (answer.choices[0].message.content or "").endswith(messages[-1]["content"])
    sent = stage.sent
    if kind == "anthropic":
        system = [block["text"] for block in sent.get("system", ())]
        assert (system, [_plain(turn) for turn in sent["messages"]]) == anthropic
    else:
        assert sent["messages"] == {"openai": messages, "ollama": ollama}[kind]


def _plain(turn: dict[str, Any]) -> dict[str, Any]:
    """The turn with a lone block of text written as text, which means the same."""
    content = turn["content"]
    if isinstance(content, list) and len(content) == 1:
        assert content[0].keys() == {"type", "text"}
        content = content[0]["text"]
    return {"role": turn["role"], "content": content}


@every_kind
def test_content_in_parts(stage: Stage, kind: Kind) -> None:
    parts = [{"type": "text", "text": "first"}, {"type": "text", "text": "second"}]
    answer = WAYS["whole"](stage.sdks, model=MODELS[kind], messages=user(parts))
    assert (answer.choices[0].message.content or "").endswith("You said: first\nsecond")


STOPS: list[Any] = [
    pytest.param({"stop": "word3"}, ["word3"], id="text"),
    pytest.param({"stop": ["never", "word3"]}, ["never", "word3"], id="list"),
]


@every_way
@pytest.mark.parametrize(("given", "sent"), STOPS)
@every_kind
def test_a_stop_sequence(
    stage: Stage, kind: Kind, given: dict[str, Any], sent: list[str], ask: ChatWay
) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("count:5"), **given)
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("word1 word2 ", "stop")
    found = {
        "openai": stage.sent.get("stop"),
        "anthropic": stage.sent.get("stop_sequences"),
        "ollama": stage.sent.get("options", {}).get("stop"),
    }[kind]
    assert found == (given["stop"] if kind == "openai" else sent)


@every_way
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@every_kind
def test_the_length_ends_an_answer(stage: Stage, kind: Kind, name: str, ask: ChatWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("count:9"), **{name: 4})
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("word1 word2 word", "length")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4
    found = {
        "openai": stage.sent.get(name),
        "anthropic": stage.sent.get("max_tokens"),
        "ollama": stage.sent.get("options", {}).get("num_predict"),
    }[kind]
    assert found == 4


@every_way
@every_kind
def test_odd_characters_survive(stage: Stage, kind: Kind, ask: ChatWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("say:" + ODD))
    assert answer.choices[0].message.content == ODD


@every_way
@every_kind
def test_an_empty_answer(stage: Stage, kind: Kind, ask: ChatWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("say:"))
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("", "stop")
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 0
    assert answer.usage.prompt_tokens == prompt_tokens(stage.last)


@every_way
@pytest.mark.parametrize(
    ("kind", "reason", "refusal", "content"),
    [
        ("openai", "stop", "I must not.", None),
        ("anthropic", "content_filter", "I must not.", None),
        # It has no field for it: a refusal is text like any other.
        ("ollama", "stop", None, "I must not."),
    ],
)
def test_a_refusal(
    stage: Stage, kind: Kind, reason: str, refusal: str | None, content: str | None, ask: ChatWay
) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("refuse:I must not."))
    choice = answer.choices[0]
    assert (choice.finish_reason, choice.message.refusal) == (reason, refusal)
    assert (choice.message.content or None) == content


@every_kind
def test_usage_in_a_stream_only_for_who_asks(stage: Stage, kind: Kind) -> None:
    create: Any = stage.sdks.openai.chat.completions.create
    for wish in ({}, {"stream_options": {"include_usage": False}}):
        with create(model=MODELS[kind], messages=user("count:5"), stream=True, **wish) as stream:
            chunks = list(stream)
        assert all(chunk.usage is None for chunk in chunks)
        assert all(len(chunk.choices) == 1 for chunk in chunks)
    with create(
        model=MODELS[kind],
        messages=user("count:5"),
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        *rest, last = list(stream)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == mind.tokens("word1 word2 word3 word4 word5")
    assert [chunk.choices[0].finish_reason for chunk in rest][-1] == "stop"
    # The books know it in every case.
    usages = [record.usage for record in stage.gateway.records]
    assert {(usage.output_tokens, usage.source) for usage in usages if usage} == {
        (last.usage.completion_tokens, "provider")
    }


def test_several_choices_of_openai(stage: Stage) -> None:
    answer = WAYS["whole"](stage.sdks, model=MODELS["openai"], messages=user("say:twin"), n=2)
    assert [(choice.index, choice.message.content) for choice in answer.choices] == [(0, "twin"), (1, "twin")]


def test_log_probabilities_of_openai(stage: Stage) -> None:
    answer = WAYS["whole"](stage.sdks, model=MODELS["openai"], messages=user("say:hm"), logprobs=True)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert "".join(token.token for token in logprobs.content or ()) == "hm"


def test_cached_tokens_are_part_of_the_prompt(stage: Stage) -> None:
    """Anthropic counts them beside the input; who speaks OpenAI's dialect finds them within."""
    mark = {"cache_control": {"type": "ephemeral"}}
    messages: list[Any] = [
        {"role": "system", "content": [{"type": "text", "text": "long " * 2000, **mark}]},
        *user("hi"),
    ]
    for name in ("whole", "stream"):
        first, second = (
            WAYS[name](
                stage.sdks,
                model="claude-sonnet-4-6" if name == "stream" else "claude-opus-4-5",
                messages=messages,
            )
            for _ in range(2)
        )
        assert first.usage is not None
        assert second.usage is not None
        assert first.usage.prompt_tokens == second.usage.prompt_tokens == prompt_tokens(stage.last)
        before, after = first.usage.prompt_tokens_details, second.usage.prompt_tokens_details
        assert before is not None
        assert after is not None
        assert (before.cached_tokens or 0) == 0
        assert 2000 < (after.cached_tokens or 0) < second.usage.prompt_tokens
        assert before.cache_write_tokens == after.cached_tokens
