"""S31 where the question is not the same but like it: the partition comes first, and what is in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pipeline.semantic.tests.asking import FIRST, LIKE, changed, like, put
from pipeline.semantic.tests.test_like_questions import RESPONSES, TOOL, requests
from pipeline.tests.caching import verdict
from routing.caching import Caching
from tests.support.live_gateway import LiveGateway
from tests.support.surfaces import CHAT_OPENAI, MESSAGES_ANTHROPIC, MESSAGES_OPENAI, Pair

# --- Without a guard and with the lowest threshold, the very same question.


OPEN: dict[str, Any] = {"guard": "off", "threshold": 0.5}
SYSTEM = {"role": "system", "content": "Answer in one word."}
TURNS = ({"role": "user", "content": "I have a dog."}, {"role": "assistant", "content": "Nice."})
OTHERS = ({"role": "user", "content": "I have a cat."}, {"role": "assistant", "content": "Nice."})


def test_s31_without_a_guard_all_questions_of_a_partition_are_compared(live: LiveGateway) -> None:
    """So that the tests below prove the partition and not the guard."""
    like(live, CHAT_OPENAI, **OPEN)
    put(live, CHAT_OPENAI, "flights from Paris to London")
    assert verdict(put(live, CHAT_OPENAI, "flights from London to Paris")) == "hit"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"temperature": 0}),
        ({}, {"max_tokens": 50}),
        ({}, {"seed": 1}),
        ({}, {"stop": ["."]}),
        ({}, {"tools": [TOOL]}),
        ({}, {"response_format": {"type": "json_object"}}),
        ({}, {"unheard_of": 1}),
        ({}, {"model": "gpt-4o-mini"}),
    ],
    ids=lambda fields: "+".join(fields) or "plain",
)
def test_s31_another_parameter_is_another_partition(
    live: LiveGateway, one: dict[str, Any], other: dict[str, Any]
) -> None:
    like(live, CHAT_OPENAI, **OPEN)
    put(live, CHAT_OPENAI, FIRST + " In json.", **one)
    assert verdict(put(live, CHAT_OPENAI, FIRST + " In json, please.", **other)) == "miss"
    assert verdict(put(live, CHAT_OPENAI, FIRST + " In json, thanks.", **one)) == "hit"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((), (SYSTEM,)),
        ((SYSTEM,), ({**SYSTEM, "content": "Answer in two words."},)),
        ((), TURNS),
        (TURNS, OTHERS),
        (TURNS, (SYSTEM, *TURNS)),
    ],
)
def test_s31_other_instructions_or_earlier_turns_are_another_partition(
    live: LiveGateway, one: Any, other: Any
) -> None:
    like(live, CHAT_OPENAI, **OPEN)
    put(live, CHAT_OPENAI, "And in euros?", *one)
    assert verdict(put(live, CHAT_OPENAI, "And in euro?", *other)) == "miss"
    assert verdict(put(live, CHAT_OPENAI, "And in euro, please?", *one)) == "hit"


def test_s31_teams_never_share(live: LiveGateway) -> None:
    teams = like(live, CHAT_OPENAI, **OPEN)
    put(live, CHAT_OPENAI, FIRST)
    assert verdict(put(live, CHAT_OPENAI, LIKE, key=teams.stranger)) == "miss"
    assert verdict(put(live, CHAT_OPENAI, LIKE, key=teams.colleague)) == "hit"
    # The stranger has its own from now on.
    assert verdict(put(live, CHAT_OPENAI, FIRST, key=teams.stranger)) == "hit"


def test_s31_keys_share_only_where_the_route_says_so(live: LiveGateway) -> None:
    teams = like(live, CHAT_OPENAI, caching=Caching(scope="key"), **OPEN)
    put(live, CHAT_OPENAI, FIRST)
    assert verdict(put(live, CHAT_OPENAI, LIKE, key=teams.colleague)) == "miss"
    assert verdict(put(live, CHAT_OPENAI, LIKE)) == "hit"


def test_s31_surfaces_and_routes_do_not_share(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI, **OPEN)
    put(live, CHAT_OPENAI, FIRST)
    assert verdict(put(live, MESSAGES_OPENAI, LIKE, max_tokens=500)) == "miss"
    snapshot = live.holder.current
    live.use(replace(snapshot, routes=tuple(replace(route, id=route.id + 50) for route in snapshot.routes)))
    assert verdict(put(live, CHAT_OPENAI, LIKE)) == "miss"


def test_s31_a_change_of_guard_or_embedder_starts_anew(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI, **OPEN)
    put(live, CHAT_OPENAI, FIRST)
    changed(live, guard="words")
    assert verdict(put(live, CHAT_OPENAI, LIKE)) == "miss"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("flights from Paris to London", "flights from London to Paris"),
        ("How much is 15 percent of 80?", "How much is 15 percent of 90?"),
        ("Which foods should I eat with diabetes?", "Which foods should I not eat with diabetes?"),
        ("How do I change my email address?", "How do I change my delivery address?"),
    ],
)
def test_near_misses_are_misses_by_default(live: LiveGateway, one: str, other: str) -> None:
    like(live, CHAT_OPENAI)
    put(live, CHAT_OPENAI, one)
    assert verdict(put(live, CHAT_OPENAI, other)) == "miss"


# --- Context


def test_by_default_any_turn_is_compared_after_the_same_history(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    put(live, CHAT_OPENAI, FIRST, *TURNS)
    assert verdict(put(live, CHAT_OPENAI, LIKE, *TURNS)) == "hit"


def test_a_route_may_compare_first_turns_only(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI, context="first")
    put(live, CHAT_OPENAI, FIRST, *TURNS)
    assert verdict(put(live, CHAT_OPENAI, LIKE, *TURNS)) == "miss"
    put(live, CHAT_OPENAI, FIRST, SYSTEM)
    assert verdict(put(live, CHAT_OPENAI, LIKE, SYSTEM)) == "hit"


@pytest.mark.parametrize("pair", [CHAT_OPENAI, MESSAGES_ANTHROPIC, RESPONSES], ids=str)
def test_a_single_text_part_is_a_text_and_two_are_not(live: LiveGateway, pair: Pair) -> None:
    like(live, pair)
    kind = "input_text" if pair is RESPONSES else "text"
    for parts, expected in ((1, "hit"), (2, "miss")):
        put(live, pair, [{"type": kind, "text": FIRST}] * parts)
        like_it = put(live, pair, [{"type": kind, "text": LIKE}] * parts)
        assert (like_it.status, verdict(like_it)) == (200, expected)


def test_s33_a_picture_anywhere_is_not_eligible(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI)
    png = "data:image/png;base64,iVBORw0KGgo="
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": png}}]}
    before = requests(live, "ineligible")
    put(live, CHAT_OPENAI, FIRST, picture, TURNS[1])
    assert verdict(put(live, CHAT_OPENAI, LIKE, picture, TURNS[1])) == "miss"
    assert requests(live, "ineligible") == before + 2


def test_mere_form_is_not_eligible(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI, threshold=0.5)
    before = requests(live, "ineligible")
    put(live, CHAT_OPENAI, "What is?")
    assert verdict(put(live, CHAT_OPENAI, "What is the?")) == "miss"
    assert requests(live, "ineligible") == before + 2


def test_long_texts_are_for_the_exact_cache(live: LiveGateway) -> None:
    like(live, CHAT_OPENAI, **OPEN)
    text = "word " * 300
    put(live, CHAT_OPENAI, text)
    assert verdict(put(live, CHAT_OPENAI, text + "other")) == "miss"
    assert verdict(put(live, CHAT_OPENAI, text)) == "hit"
