"""What is made of any request that its own provider would take is taken by the other one, or refused with the
field's name: no provider of ours ever refuses a body that the gateway made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dialects.errors import GatewayError
from dialects.table import DIALECTS, TRANSLATORS
from dialects.tests import judges
from dialects.tests.wellformed import BODIES
from dialects.types import ModelFacts

_MODELS = {
    "chat": ("gpt-4o", "gpt-5", "gpt-5.1", "gpt-5.5", "o3", "gpt-4"),
    "responses": ("gpt-4o", "gpt-5", "gpt-5.1", "gpt-5.5", "o3"),
    "messages": (
        "claude-sonnet-4-5",
        "claude-sonnet-4-6",
        "claude-opus-4-7",
        "claude-fable-5-1",
        "claude-sonnet-4-20250514",
        "claude-3-5-haiku-20241022",
        "claude-3-haiku-20240307",
    ),
    "ollama_chat": ("qwen3", "gpt-oss", "llama3.2"),
}
# The routes see to it that pictures come to a model that sees.
_SEES = "llama3.2-vision"
_ACCEPTS: dict[str, Callable[[dict[str, Any]], None]] = {
    "chat": judges.openai_accepts,
    "responses": judges.responses_accepts,
    "messages": judges.anthropic_accepts,
    "ollama_chat": judges.ollama_accepts,
}
PAIRS = sorted((client, upstream) for client, upstream in TRANSLATORS if client in BODIES)


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_provider_takes_what_is_made(client: str, upstream: str, data: st.DataObject) -> None:
    body = data.draw(BODIES[client])
    before = orjson.dumps(body)
    needs = DIALECTS[client].facts(body).needs
    model = data.draw(st.sampled_from(_MODELS[upstream]))
    if upstream == "ollama_chat" and "vision" in needs:
        # None of the fake's does both.
        assume("tools" not in needs)
        model = _SEES
    translator = TRANSLATORS[client, upstream]()
    try:
        sent = translator.request(body, ModelFacts(model))
    except GatewayError as error:
        refused = error
    else:
        assert orjson.dumps(body) == before
        _ACCEPTS[upstream](sent)
        return
    # What cannot travel is refused by name.
    assert refused.status("openai") == 400
    assert refused.detail.param
