"""Targets whose model cannot serve a request are left out, with the reason, as long as another can."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from dialects.table import DIALECTS
from dialects.types import Facts, ModelFacts
from routing.fit import unfit
from routing.plan import FINE, Chance, Condition, Plan, plan
from routing.snapshot import CatalogueModel, Snapshot, Target
from routing.tests.test_plan import PROVIDER, Now, route


def row(name: str, *words: str, window: int | None = None, most: int | None = None) -> CatalogueModel:
    return CatalogueModel("openai", ModelFacts(name, window, most, frozenset(words)))


ROWS = {
    ("openai", each.facts.name): each
    for each in (
        row("blind", "tools", "sampling", window=8_000),
        row("sees", "tools", "vision", "sampling", window=128_000),
        row("small", "tools", "vision", "sampling", window=1_000, most=200),
    )
}
BLIND, SEES, SMALL = (
    Target(number, PROVIDER, name) for number, name in enumerate(("blind", "sees", "small"), 1)
)


def planned(facts: Facts, *targets: Target, now: Now | None = None) -> Plan:
    made = replace(route(1, "*", 0, None, *targets), balance="ordered")
    return plan(Snapshot(1, (made,), catalogue=ROWS), facts, None, Chance(random.random, now or Now()))


def asked(**known: object) -> Facts:
    return Facts(model="x", one_prompt=True, **known)  # type: ignore[arg-type]  # fields of Facts


PICTURE = asked(needs=frozenset({"vision"}))


def reasons(found: Plan) -> dict[str, str]:
    return {left.target.upstream_model: left.reason for left in found.left_out}


def test_a_picture_goes_to_who_can_see() -> None:
    found = planned(PICTURE, BLIND, SEES)
    assert found.candidates == (SEES,)
    assert reasons(found) == {"blind": "its model lacks vision"}


def test_a_long_prompt_goes_to_who_can_hold_it() -> None:
    found = planned(asked(prompt_chars=40_000), SMALL, BLIND, SEES)
    assert found.candidates == (SEES,)
    assert reasons(found) == {
        "small": "its context of 1000 tokens is too small for about 10000",
        "blind": "its context of 8000 tokens is too small for about 10000",
    }


@pytest.mark.parametrize(
    ("chars", "cap", "fits"),
    [
        (4_000, None, True),  # exactly full
        (4_001, None, False),
        (3_200, 200, True),
        (3_204, 200, False),
        (3_200, 9_999, True),  # it writes 200 at the most
    ],
)
def test_the_answer_takes_its_part_of_the_context(chars: int, cap: int | None, fits: bool) -> None:
    reason = unfit(Snapshot(1, catalogue=ROWS), asked(prompt_chars=chars, max_tokens=cap), SMALL)
    assert (reason is None) is fits


def test_texts_that_are_not_one_prompt_are_not_added_up() -> None:
    many = DIALECTS["embeddings"].facts({"model": "small", "input": ["x" * 3000] * 50})
    assert many.prompt_chars > 4 * 1000
    assert unfit(Snapshot(1, catalogue=ROWS), many, SMALL) is None


def test_what_nobody_knows_counts_as_can() -> None:
    unknown = Target(9, PROVIDER, "llama-of-our-own")
    assert planned(asked(prompt_chars=10**7, needs=frozenset({"vision"})), unknown, BLIND).candidates == (
        unknown,
    )


def test_a_name_tells_where_the_catalogue_does_not() -> None:
    old = Target(9, PROVIDER, "gpt-3.5-turbo")
    assert unfit(Snapshot(1), PICTURE, old) == "its model lacks vision"


def test_where_nobody_can_all_are_asked_in_their_order() -> None:
    other = replace(BLIND, id=8)
    found = planned(PICTURE, BLIND, other)
    assert found.candidates == (BLIND, other)
    assert found.left_out == ()
    assert planned(PICTURE, BLIND).candidates == (BLIND,)


@pytest.mark.parametrize(
    ("condition", "candidates"),
    [
        # It comes back by itself: the others cannot do it in the meantime.
        (Condition(out="cooling down", ready_in=3.0), ()),
        (Condition(out="its breaker is open", ready_in=3.0, last_resort=True), (SEES,)),
        # Nobody knows when it comes back, if ever.
        (Condition(out="its breaker is held open by the operators"), (BLIND,)),
    ],
)
def test_who_can_and_is_out_is_waited_for(condition: Condition, candidates: tuple[Target, ...]) -> None:
    found = planned(PICTURE, BLIND, SEES, now=Now(t2=condition))
    assert found.candidates == candidates
    assert ("blind" in reasons(found)) is (BLIND not in candidates)


def test_who_can_and_is_full_is_waited_for() -> None:
    found = planned(PICTURE, BLIND, SEES, now=Now(t1=FINE, t2=Condition(full=True)))
    assert (found.candidates, found.full) == ((), (SEES,))


def test_a_spare_that_cannot_is_no_spare() -> None:
    spare = replace(BLIND, id=7, after=frozenset({"outage"}))
    assert planned(PICTURE, SEES, spare).spares == ()
    assert planned(asked(), SEES, spare).spares == (spare,)
    # Where the ordinary ones cannot either, it is as good as they are.
    assert planned(PICTURE, BLIND, spare).spares == (spare,)
