"""The labelled questions that ship with the project: paraphrases, and near misses that are none."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("data") / "paraphrases.tsv"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two questions; `same`: one answer serves both. `kind`: in what they differ."""

    same: bool
    kind: str
    first: str
    second: str


def load() -> list[Pair]:
    """All pairs, in the order of the file."""
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Pair(row["verdict"] == "same", row["kind"], row["first"], row["second"]) for row in rows]


def groups(pairs: list[Pair]) -> dict[str, int]:
    """Each question's group: those that paraphrases lead to from one another."""
    leader: dict[str, str] = {}

    def find(question: str) -> str:
        while leader.setdefault(question, question) != question:
            question = leader[question]
        return question

    for pair in pairs:
        one, other = find(pair.first), find(pair.second)
        if pair.same:
            leader[one] = other
    numbers: dict[str, int] = {}
    return {question: numbers.setdefault(find(question), len(numbers)) for question in leader}
