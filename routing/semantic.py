"""What a route says of answers to questions that mean the same: plain values, as a snapshot holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# shadow: everything is done but the answer: what would have been given is counted, and the real one served.
SemanticMode = Literal["off", "shadow", "on"]
# What two prompts must have in common to the letter. off: nothing; marks: figures, signs, abbreviations,
# negations, times, units, directions and kinds of question; words: every word that is not mere form.
Guard = Literal["off", "marks", "words"]
# Which last turns are compared. history: any, where all before it is the same to the letter; first: only a
# conversation's first.
ContextRule = Literal["history", "first"]

# Of the embedded model; another name is a model that the gateway routes.
LOCAL = "local"
# Measured with the embedded model and the guard over words: half of the paraphrases of bench/data are hits,
# and none of its near misses. See docs/caching.md.
THRESHOLD = 0.85
# Below, unrelated questions are neighbours under every model that we know.
MIN_THRESHOLD = 0.5
# What a call may lose by looking. The embedded model needs a hundredth of it, a provider's often more.
SECONDS = 0.1
MIN_SECONDS = 0.01
MAX_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Semantic:
    """The settings of a route that looks for answers to like questions.

    `threshold`: the cosine from which an answer is given; a client may raise it. `embedder`: "local" or a
    model's name. `seconds`: for vector and search together; then the call goes on without. `prompts`: the
    texts of questions are written down for those who judge the hits.
    """

    mode: SemanticMode = "on"
    threshold: float = THRESHOLD
    embedder: str = LOCAL
    guard: Guard = "words"
    context: ContextRule = "history"
    seconds: float = SECONDS
    prompts: bool = False
