"""docs/translation.md says what the translators do, and leaves out no field that an SDK can send."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import message_create_params
from openai.types import completion_create_params as legacy
from openai.types import embedding_create_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from dialects.errors import GatewayError
from dialects.table import TRANSLATORS
from dialects.tests.verdict_samples import SAMPLES
from dialects.tests.verdicts import COLUMNS, PAGE, Column, asked, tables, verdict, written

SDKS: dict[str, Any] = {
    "chat": completion_create_params.CompletionCreateParamsBase,
    "messages": message_create_params.MessageCreateParamsBase,
    "responses": response_create_params.ResponseCreateParamsBase,
    "completions": legacy.CompletionCreateParamsBase,
    "embeddings": embedding_create_params.EmbeddingCreateParams,
}
# What every request has.
ALWAYS = {"model", "messages", "input", "prompt"}
CELLS = [
    pytest.param(client, column, sample, id=f"{client}-{column.model}-{sample}")
    for client, columns in COLUMNS.items()
    for column in columns
    for sample in SAMPLES[client]
]


def test_the_page_is_what_the_translators_do() -> None:
    assert written(PAGE.read_text(encoding="utf-8")) == tables(), "run: python -m dialects.tests.verdicts"


@pytest.mark.parametrize("client", SDKS)
def test_every_field_of_the_sdk_has_a_row(client: str) -> None:
    rows = {sample.partition(" ")[0].partition(".")[0] for sample in SAMPLES[client]}
    assert SDKS[client].__annotations__.keys() - rows - ALWAYS == set()


def test_every_client_has_a_table() -> None:
    assert {client for client, _ in TRANSLATORS} == set(COLUMNS)


@pytest.mark.parametrize(("client", "column", "sample"), CELLS)
def test_a_cell_tells_the_truth(client: str, column: Column, sample: str) -> None:
    """What is called dropped is named and not sent; what is refused is refused by name."""
    said = verdict(client, column, sample)
    fields = SAMPLES[client][sample]
    if said == "400":
        with pytest.raises(GatewayError) as caught:
            asked(client, column, fields)
        assert caught.value.status("openai") == 400
        assert caught.value.message
        return
    sent, dropped = asked(client, column, fields)
    assert bool(dropped) is ("drop" in said)
    if said == "dropped":
        (name,) = dropped
        assert name not in sent
        assert f"'{name.rpartition('.')[2]}':" not in str(sent)
