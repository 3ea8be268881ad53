"""What Anthropic's SDK builds upon messages: parsed output, its tool runner, its counter of tokens."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import beta_tool
from pydantic import BaseModel

from tests.e2e.prompts import order, user
from tests.e2e.sdks import KINDS, MODELS, Kind, Stage

every_kind = pytest.mark.parametrize("kind", KINDS)


class Part(BaseModel):
    """A leaf of the schema, so that it has a definition of its own."""

    name: str
    weight: float


class Thing(BaseModel):
    """What the model is asked for."""

    title: str
    parts: list[Part]
    sold: bool


# What the fake makes of that schema.
MADE = Thing(title="text", parts=[Part(name="text", weight=1.5)], sold=True)


@every_kind
def test_the_sdk_parses_an_answer_into_a_model(stage: Stage, kind: Kind) -> None:
    messages = stage.sdks.anthropic.messages
    fields: Any = {"model": MODELS[kind], "max_tokens": 500, "messages": user("A thing")}
    assert messages.parse(**fields, output_format=Thing).parsed_output == MADE
    with messages.stream(**fields, output_format=Thing) as stream:
        assert stream.get_final_message().parsed_output == MADE
    schema = {
        "anthropic": lambda sent: sent["output_config"]["format"]["schema"],
        "openai": lambda sent: sent["response_format"]["json_schema"]["schema"],
        "ollama": lambda sent: sent["format"],
    }[kind](stage.sent)
    assert list(schema["properties"]) == ["title", "parts", "sold"]
    assert "tools" not in stage.sent


@every_kind
def test_the_async_sdk_parses_an_answer_into_a_model(stage: Stage, kind: Kind) -> None:
    async def ask() -> Any:
        return await stage.sdks.async_anthropic.messages.parse(
            model=MODELS[kind], max_tokens=500, messages=user("A thing"), output_format=Thing
        )

    assert stage.sdks.run(ask()).parsed_output == MADE


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@every_kind
def test_the_tool_runner_runs_a_loop(stage: Stage, kind: Kind, stream: bool) -> None:
    asked: list[tuple[str, int]] = []

    @beta_tool
    def weather(city: str, days: int = 1) -> str:
        """Tells the weather.

        Args:
            city: where
            days: how far ahead
        """
        asked.append((city, days))
        return f"sun in {city}"

    runner: Any = stage.sdks.anthropic.beta.messages.tool_runner(
        model=MODELS[kind],
        max_tokens=500,
        tools=[weather],
        messages=user(order(city="Ulm") + "\n" + order(city="Köln", days=3)),
        stream=stream,
    )
    final = runner.until_done()
    assert asked == [("Ulm", 1), ("Köln", 3)]
    assert final.content[0].text == "The tool said: sun in Ulm | sun in Köln"
    # The SDK first offers to keep the conversation at the provider; refused, it goes on without.
    assert [request.status for request in stage.fake.requests if request.status != 400] == [200, 200]


@pytest.mark.parametrize("kind", ["openai", "ollama"])
def test_tokens_are_estimated_where_the_provider_has_no_counter(stage: Stage, kind: Kind) -> None:
    count = stage.sdks.anthropic.messages.count_tokens
    short = count(model=MODELS[kind], messages=user("word"))
    long = count(model=MODELS[kind], messages=user("word " * 1000), system="Be brief.")
    assert 1 <= short.input_tokens < 20
    assert 500 < long.input_tokens < 2000
    assert stage.fake.requests == []
