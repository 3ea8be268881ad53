"""messages by Anthropic's SDK, every way, from every provider: text, system prompts, stops, usage, knobs."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from tests.e2e.message_ways import WAYS, MessageWay, text_of
from tests.e2e.prompts import user
from tests.e2e.sdks import KINDS, MODELS, ODD, PATHS, Kind, Stage, prompt_tokens
from tests.support.upstream import mind

every_way = pytest.mark.parametrize("ask", [pytest.param(way, id=name) for name, way in WAYS.items()])
whole_and_stream = pytest.mark.parametrize(
    "ask", [pytest.param(WAYS[name], id=name) for name in ("whole", "stream")]
)
every_kind = pytest.mark.parametrize("kind", KINDS)
OLD = {"anthropic-version": "2023-06-01"}


@every_way
@every_kind
def test_a_plain_question(stage: Stage, kind: Kind, ask: MessageWay) -> None:
    model = MODELS[kind]
    answer = ask(stage.sdks, model=model, messages=user("Hi there"))
    text = f"Hello from {model}. You said: Hi there"
    assert [(block.type, text_of(answer)) for block in answer.content] == [("text", text)]
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", model)
    assert answer.id.startswith("msg_")
    assert stage.last.path == PATHS[kind]
    assert answer.usage.input_tokens == prompt_tokens(stage.last)
    assert answer.usage.output_tokens == mind.tokens(text)
    assert stage.sent[{"anthropic": "max_tokens", "openai": "max_tokens"}.get(kind, "options")] in (
        500,
        {"num_predict": 500},
    )


SYSTEMS: list[Any] = [
    pytest.param("Be brief.", "Be brief.", id="text"),
    pytest.param([{"type": "text", "text": "Be brief."}], "Be brief.", id="one-block"),
    pytest.param(
        [
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "Be kind."},
        ],
        "Be brief.\n\nBe kind.",
        id="two-blocks-and-a-cache-mark",
    ),
]


@whole_and_stream
@pytest.mark.parametrize(("system", "text"), SYSTEMS)
@every_kind
def test_a_system_prompt(stage: Stage, kind: Kind, system: Any, text: str, ask: MessageWay) -> None:
    ask(stage.sdks, model=MODELS[kind], messages=user("hi"), system=system)
    if kind == "anthropic":
        assert stage.sent["system"] == system
    else:
        first, second = stage.sent["messages"]
        assert first == {"role": "system", "content": text}
        assert second == {"role": "user", "content": "hi"}


@whole_and_stream
@every_kind
def test_several_turns(stage: Stage, kind: Kind, ask: MessageWay) -> None:
    blocks = [{"type": "text", "text": "three"}, {"type": "text", "text": "four"}]
    turns = [*user("one"), {"role": "assistant", "content": "two"}, *user(blocks)]
    answer = ask(stage.sdks, model=MODELS[kind], messages=turns)
    assert text_of(answer).endswith("You said: three\nfour")
    sent = stage.sent["messages"]
    assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
    assert [turn["content"] for turn in sent[:2]] == ["one", "two"]


@every_way
@pytest.mark.parametrize(
    ("kind", "reason", "sequence"),
    # Only Anthropic tells which one it was.
    [("anthropic", "stop_sequence", "word3"), ("openai", "end_turn", None), ("ollama", "end_turn", None)],
)
def test_a_stop_sequence(
    stage: Stage, kind: Kind, reason: str, sequence: str | None, ask: MessageWay
) -> None:
    stops = ["never", "word3"]
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("count:5"), stop_sequences=stops)
    assert (text_of(answer), answer.stop_reason, answer.stop_sequence) == ("word1 word2 ", reason, sequence)
    found = {
        "anthropic": stage.sent.get("stop_sequences"),
        "openai": stage.sent.get("stop"),
        "ollama": stage.sent.get("options", {}).get("stop"),
    }[kind]
    assert found == stops


@every_way
@every_kind
def test_the_length_ends_an_answer(stage: Stage, kind: Kind, ask: MessageWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("count:9"), max_tokens=4)
    assert (text_of(answer), answer.stop_reason) == ("word1 word2 word", "max_tokens")
    assert answer.usage.output_tokens == 4


@every_way
@every_kind
def test_odd_characters_survive(stage: Stage, kind: Kind, ask: MessageWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("say:" + ODD))
    assert text_of(answer) == ODD


@every_way
@every_kind
def test_an_empty_answer(stage: Stage, kind: Kind, ask: MessageWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("say:"))
    assert (answer.content, answer.stop_reason) == ([], "end_turn")
    assert answer.usage.output_tokens == 0
    assert answer.usage.input_tokens == prompt_tokens(stage.last)


@every_way
@pytest.mark.parametrize(
    ("kind", "reason", "text"),
    [
        ("anthropic", "refusal", ""),
        ("openai", "refusal", "I must not."),
        ("ollama", "end_turn", "I must not."),
    ],
)
def test_a_refusal(stage: Stage, kind: Kind, reason: str, text: str, ask: MessageWay) -> None:
    answer = ask(stage.sdks, model=MODELS[kind], messages=user("refuse:I must not."))
    assert (answer.stop_reason, text_of(answer)) == (reason, text)
    explained = answer.stop_details.explanation if answer.stop_details else None
    assert explained == (None if kind == "ollama" else "I must not.")


@pytest.mark.parametrize("kind", KINDS)
def test_the_helper_hands_out_the_text_as_it_comes(stage: Stage, kind: Kind) -> None:
    with stage.sdks.anthropic.messages.stream(
        model=MODELS[kind], max_tokens=100, messages=user("count:9")
    ) as stream:
        pieces = list(stream.text_stream)
        assert stream.get_final_text() == "".join(pieces)
    assert "".join(pieces) == " ".join(f"word{number}" for number in range(1, 10))
    assert len(pieces) > 5


# One knob a row: what the client sends, and what then is in the body for OpenAI and for Ollama (whose fields
# stand in `options`). Anthropic gets what the client sent. "": dropped, and named in a header.
KNOBS: list[tuple[dict[str, Any], Any, Any]] = [
    ({"temperature": 0.25}, {"temperature": 0.25}, {"temperature": 0.25}),
    ({"top_p": 0.5}, {"top_p": 0.5}, {"top_p": 0.5}),
    ({"top_k": 5}, "", {"top_k": 5}),
    ({"metadata": {"user_id": "u-1"}}, {"user": "u-1"}, ""),
    ({"service_tier": "standard_only"}, {"service_tier": "default"}, ""),
    ({"shiny_new_knob": 3}, "", ""),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("given", "openai", "ollama"), [pytest.param(*row, id=next(iter(row[0]))) for row in KNOBS]
)
def test_a_knob(stage: Stage, kind: Kind, given: dict[str, Any], openai: Any, ollama: Any) -> None:
    (name,) = given
    create = stage.sdks.anthropic.messages.with_raw_response.create
    fields: Any = {"model": MODELS[kind], "max_tokens": 50, "messages": user("hi"), "extra_body": given}
    if kind == "anthropic" and name == "shiny_new_knob":
        with pytest.raises(anthropic.BadRequestError, match="shiny_new_knob: Extra inputs"):
            create(**fields)
        return
    raw = create(**fields, extra_headers=OLD)
    expected = {"anthropic": given, "openai": openai, "ollama": ollama}[kind]
    sent = stage.sent
    if expected == "":
        assert raw.headers["x-gateway-dropped"] == name
        assert name not in sent
        return
    assert "x-gateway-dropped" not in raw.headers
    for field, value in expected.items():
        assert (sent["options"] if kind == "ollama" else sent)[field] == value


def test_anthropics_newer_version_refuses_sampling_itself(stage: Stage) -> None:
    """The SDK asks for a version of the API without these fields, and that is what it gets."""
    with pytest.raises(anthropic.BadRequestError, match="temperature: Extra inputs are not permitted"):
        stage.sdks.anthropic.messages.create(
            model=MODELS["anthropic"], max_tokens=50, messages=user("hi"), extra_body={"temperature": 0.5}
        )
    assert stage.fake.last.header("anthropic-version") == "2026-10-21"


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("gpt-4o-mini", {"max_tokens": 50}),
        ("o3-mini", {"max_completion_tokens": 50}),
        ("gpt-5", {"max_completion_tokens": 50}),
    ],
)
def test_the_length_has_the_name_that_the_model_takes(stage: Stage, model: str, sent: dict[str, int]) -> None:
    stage.sdks.anthropic.messages.create(model=model, max_tokens=50, messages=user("hi"))
    names = ("max_tokens", "max_completion_tokens")
    assert {name: stage.sent[name] for name in names if name in stage.sent} == sent


def test_cached_tokens_are_told_apart(stage: Stage) -> None:
    """Anthropic counts them beside the input, OpenAI within: each client reads its own."""
    system = [{"type": "text", "text": "long " * 2000, "cache_control": {"type": "ephemeral"}}]
    ask = WAYS["stream"]
    fields: dict[str, Any] = {"model": MODELS["anthropic"], "system": system, "messages": user("hi")}
    first, second = (ask(stage.sdks, **fields).usage for _ in range(2))
    assert first.cache_creation_input_tokens
    assert not first.cache_read_input_tokens
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    fields["model"] = MODELS["openai"]
    cold, warm = (ask(stage.sdks, **fields).usage for _ in range(2))
    assert not cold.cache_read_input_tokens
    assert warm.cache_read_input_tokens
    assert warm.input_tokens + warm.cache_read_input_tokens == cold.input_tokens
