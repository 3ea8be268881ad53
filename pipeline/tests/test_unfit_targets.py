"""Over sockets: a request that a target's model cannot serve goes to one that can."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dialects.types import ModelFacts
from routing.snapshot import CatalogueModel, Target
from tests.support.live_gateway import LiveGateway

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def post(live: LiveGateway, content: Any, **more: Any) -> httpx.Response:
    return httpx.post(
        live.openai_url + "/chat/completions",
        headers={"authorization": f"Bearer {live.key}"},
        json={"model": "ours", "messages": [{"role": "user", "content": content}], **more},
    )


@pytest.fixture
def served(live: LiveGateway) -> LiveGateway:
    """The first target can neither see nor hold much; the second can."""
    openai = live.provider("openai")
    targets = Target(1, openai, "gpt-4o-small"), Target(2, openai, "gpt-4o", tier=1)
    rows = {
        ("openai", name): CatalogueModel("openai", ModelFacts(name, window, None, frozenset(words)))
        for name, window, words in (
            ("gpt-4o-small", 2_000, {"tools", "sampling"}),
            ("gpt-4o", 8_000, {"tools", "vision", "sampling"}),
        )
    }
    live.use(live.snapshot([live.route("ours", *targets)], catalogue=rows))
    return live


def asked(live: LiveGateway) -> list[str]:
    return [attempt.upstream_model for attempt in live.wait_record().attempts]


@pytest.mark.parametrize(
    ("content", "first"),
    [
        ("Hello", "gpt-4o-small"),
        ([{"type": "text", "text": "What is this?"}, PICTURE], "gpt-4o"),
        ("word " * 2_000, "gpt-4o"),
    ],
)
def test_it_goes_where_it_can_be_served(served: LiveGateway, content: Any, first: str) -> None:
    assert post(served, content).status_code == 200
    assert asked(served) == [first]


def test_a_long_answer_needs_room_too(served: LiveGateway) -> None:
    assert post(served, "Hello", max_tokens=4_000).status_code == 200
    assert asked(served) == ["gpt-4o"]


def test_where_nobody_can_the_provider_is_asked_all_the_same(served: LiveGateway) -> None:
    assert post(served, [PICTURE, {"type": "text", "text": "word " * 9_000}]).status_code == 200
    assert asked(served) == ["gpt-4o-small"]
