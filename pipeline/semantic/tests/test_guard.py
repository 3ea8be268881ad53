"""What prompts must have in common, judged by the labelled pairs and by every two questions of theirs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.paraphrases import groups, load
from pipeline.semantic.guard import signature
from pipeline.semantic.local_model import LocalModel
from routing.semantic import THRESHOLD

PAIRS = load()


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel()


def similarity(model: LocalModel, one: str, other: str) -> float:
    first, second = model.vector(one), model.vector(other)
    assert first is not None
    assert second is not None
    return float(np.frombuffer(first, "<f4") @ np.frombuffer(second, "<f4"))


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if not pair.same], ids=lambda pair: pair.second[:40])
def test_no_near_miss_is_a_hit_by_default(pair: object, model: LocalModel) -> None:
    first, second = pair.first, pair.second  # type: ignore[attr-defined]  # a Pair
    alike = signature(first, "words") == signature(second, "words")
    assert not (alike and similarity(model, first, second) >= THRESHOLD)


def test_half_of_the_paraphrases_are_hits(model: LocalModel) -> None:
    same = [pair for pair in PAIRS if pair.same]
    hits = [
        pair
        for pair in same
        if signature(pair.first, "words") == signature(pair.second, "words")
        and similarity(model, pair.first, pair.second) >= THRESHOLD
    ]
    assert len(hits) / len(same) > 0.5


def test_no_two_questions_of_the_whole_set_are_taken_for_one_that_are_not(model: LocalModel) -> None:
    group = groups(PAIRS)
    by_signature: dict[str, list[str]] = {}
    for question in group:
        by_signature.setdefault(signature(question, "words"), []).append(question)
    wrong = [
        (one, other)
        for questions in by_signature.values()
        for one, other in itertools.combinations(questions, 2)
        if group[one] != group[other] and similarity(model, one, other) >= THRESHOLD
    ]
    assert wrong == []


def test_the_vectors_alone_would_not_do(model: LocalModel) -> None:
    """Why there is a guard: the mean of its words' vectors knows no order."""
    assert similarity(model, "flights from Paris to London", "flights from London to Paris") > 0.999


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What does vitamin A do?", "What do vitamins do?"),
        ("What is (2 + 3) * 4?", "What is 2 + (3 * 4)?"),
        ("What is x²?", "What is x2?"),
        ("Is 5 KB large?", "Is 5 Kb large?"),
        ("if a:\n    b\nc", "if a:\n    b\n    c"),
        ("你好吗", "你好嘛"),
        ("Que pensez-vous de cet homme ?", "Que pensez-vous de cette femme ?"),
    ],
)
def test_small_signs_that_change_a_meaning(one: str, other: str) -> None:
    assert signature(one, "words") != signature(other, "words")


def test_marks_let_other_words_differ_but_not_what_they_count() -> None:
    assert signature("Delete my 3 files", "marks") == signature("Remove my 3 files", "marks")
    assert signature("Delete my 3 files", "marks") != signature("Delete my 4 files", "marks")
    assert signature("Delete my 3 files", "marks") != signature("Do not delete my 3 files", "marks")
    assert signature("Delete my 3 files", "words") != signature("Remove my 3 files", "words")


def test_off_asks_for_nothing() -> None:
    assert signature("one", "off") == signature("two", "off") == ""


@pytest.mark.parametrize("text", ["", " ", "\n", "?!", "\u0000", "\ud800", "a" * 100_000, "can you " * 5000])
def test_any_text_has_a_signature(text: str) -> None:
    assert signature(text, "words") == signature(text, "words")
