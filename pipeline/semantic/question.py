"""Which calls may have the answer to a like question, and the partition that they look in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dialects.cacheable import canonical
from dialects.errors import bad_request
from dialects.last_turn import last_turn
from pipeline.cache_key import Partition, digest, headers
from pipeline.cache_rules import THRESHOLD_HEADER
from pipeline.call import Call
from pipeline.semantic.guard import signature
from routing.semantic import Semantic

# Vectors of longer texts say what they are about and not what they ask: two contracts that differ in a clause
# are one. They are for the exact cache.
MAX_CHARS = 1000

_NUMBER = re.compile(r"(?:0?\.[0-9]{1,6}|[01](?:\.[0-9]{0,6})?)")
# The surfaces whose requests hold more than text say so by what they need.
_MEDIA = frozenset({"vision", "audio", "documents"})


@dataclass(frozen=True, slots=True)
class Question:
    """`text`: what is asked; `partition`: a digest of everything else, and of what the guard reads in the
    text; `own`: of the text too."""

    text: str
    partition: str
    own: str


def question(call: Call, within: Partition, semantic: Semantic) -> Question | None:
    """None where the call's last turn is not one text, or its route compares no such turns.

    Team, key, route, its targets, the last purge, surface, model, every parameter, instructions, tools and
    all earlier turns are in the partition: before any vector is compared they are equal, byte for byte.
    """
    turn = last_turn(call.dialect.name, call.body)
    if turn is None or call.facts.needs & _MEDIA or (semantic.context == "first" and not turn.first):
        return None
    text = turn.text.strip()
    if not 0 < len(text) <= MAX_CHARS:
        return None
    common = signature(text, semantic.guard)
    if semantic.guard == "words" and not common:
        # Mere form: nothing is left to tell it from another.
        return None
    place = digest(
        "semantic",
        within,
        call.dialect.name,
        headers(call),
        canonical(turn.rest),
        semantic.embedder,
        semantic.guard,
        common,
    )
    return Question(text, place.hex(), digest("question", within, place.hex(), text).hex())


def threshold(call: Call, semantic: Semantic) -> float:
    """The route's, or the client's where that is higher. Raises GatewayError (400) for what is no number from
    0 to 1."""
    asked = call.headers.get(THRESHOLD_HEADER)
    if asked is None:
        return semantic.threshold
    if not _NUMBER.fullmatch(asked) or float(asked) > 1:
        raise bad_request(f"The header {THRESHOLD_HEADER} is a number from 0 to 1.", code="invalid_header")
    return max(semantic.threshold, float(asked))
