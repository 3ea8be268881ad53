"""What becomes of each knob of a chat request at each provider: carried, turned, or dropped and named."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.sdks import KINDS, MODELS, Kind, Stage

HI: Any = [{"role": "user", "content": "hi"}]
DROPPED = "dropped"
# One knob a row: what the client sends, and what then is in the body for Anthropic and for Ollama (whose
# fields stand in `options`). OpenAI gets what the client sent.
KNOBS: list[tuple[dict[str, Any], Any, Any]] = [
    ({"temperature": 0.25}, {"temperature": 0.25}, {"temperature": 0.25}),
    ({"temperature": 0}, {"temperature": 0}, {"temperature": 0}),
    ({"temperature": 1.75}, {"temperature": 1}, {"temperature": 1.75}),
    ({"top_p": 0.5}, {"top_p": 0.5}, {"top_p": 0.5}),
    ({"seed": 7}, DROPPED, {"seed": 7}),
    ({"presence_penalty": 0.5}, DROPPED, {"presence_penalty": 0.5}),
    ({"frequency_penalty": -0.5}, DROPPED, {"frequency_penalty": -0.5}),
    ({"logit_bias": {"50256": -100}}, DROPPED, DROPPED),
    ({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}, DROPPED),
    ({"metadata": {"trace": "t"}}, DROPPED, DROPPED),
    ({"store": True}, DROPPED, DROPPED),
    ({"service_tier": "default"}, {"service_tier": "standard_only"}, DROPPED),
    ({"verbosity": "low"}, DROPPED, DROPPED),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("given", "anthropic", "ollama"),
    [pytest.param(*row, id="-".join(f"{k}={v}" for k, v in row[0].items())) for row in KNOBS],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_knob(
    stage: Stage, kind: Kind, given: dict[str, Any], anthropic: Any, ollama: Any, stream: bool
) -> None:
    chat = stage.sdks.openai.chat.completions.with_raw_response
    raw: Any = chat.create(model=MODELS[kind], messages=HI, stream=stream, **given)
    _read(raw, stream=stream)
    expected = {"openai": given, "anthropic": anthropic, "ollama": ollama}[kind]
    sent = stage.sent
    (name,) = given
    if expected == DROPPED:
        assert raw.headers["x-gateway-dropped"].split(", ") == [name]
        assert name not in sent
        assert name not in sent.get("options", {})
        return
    for field, value in expected.items():
        assert (sent["options"] if kind == "ollama" else sent)[field] == value
    changed = kind == "anthropic" and given == {"temperature": 1.75}
    assert ("x-gateway-dropped" in raw.headers) is changed


def _read(raw: Any, *, stream: bool) -> None:
    if stream:
        with raw.parse() as chunks:
            assert [chunk for chunk in chunks if chunk.choices][-1].choices[0].finish_reason == "stop"
    else:
        assert raw.parse().choices[0].finish_reason == "stop"


def test_temperature_and_top_p_together_are_one_too_many_for_claude(stage: Stage) -> None:
    raw = stage.sdks.openai.chat.completions.with_raw_response.create(
        model=MODELS["anthropic"], messages=HI, temperature=0.5, top_p=0.5
    )
    assert stage.sent["temperature"] == 0.5
    assert "top_p" not in stage.sent
    assert raw.headers["x-gateway-dropped"] == "top_p"


@pytest.mark.parametrize("name", ["temperature", "top_p"])
def test_the_newest_claude_has_no_sampling(stage: Stage, name: str) -> None:
    knob: Any = {name: 0.5}
    raw = stage.sdks.openai.chat.completions.with_raw_response.create(
        model="claude-opus-4-7", messages=HI, **knob
    )
    assert name not in stage.sent
    assert raw.headers["x-gateway-dropped"] == name


def test_without_a_length_claude_may_write_long(stage: Stage) -> None:
    """Anthropic wants a length. A small one would cut answers that the client did not ask to have cut."""
    stage.sdks.openai.chat.completions.create(model=MODELS["anthropic"], messages=HI)
    assert stage.sent["max_tokens"] >= 4096


def test_an_unknown_field_is_named_where_it_cannot_travel(stage: Stage) -> None:
    raw = stage.sdks.openai.chat.completions.with_raw_response.create(
        model=MODELS["anthropic"], messages=HI, extra_body={"shiny_new_knob": 3}
    )
    assert raw.headers["x-gateway-dropped"] == "shiny_new_knob"


def test_an_unknown_field_is_openais_own_matter(stage: Stage) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        stage.sdks.openai.chat.completions.create(
            model=MODELS["openai"], messages=HI, extra_body={"shiny_new_knob": 3}
        )
    assert "shiny_new_knob" in caught.value.message
    assert stage.fake.last.json["shiny_new_knob"] == 3


@pytest.mark.parametrize(
    ("kind", "given", "param"),
    [
        ("anthropic", {"n": 2}, "n"),
        ("ollama", {"n": 2}, "n"),
        (
            "anthropic",
            {"modalities": ["text", "audio"], "audio": {"voice": "ash", "format": "wav"}},
            "modalities",
        ),
    ],
)
def test_what_would_change_the_answer_is_refused(
    stage: Stage, kind: Kind, given: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        stage.sdks.openai.chat.completions.create(model=MODELS[kind], messages=HI, **given)
    assert caught.value.param == param
    assert stage.fake.requests == []
