"""One event of the semantic cache as it is written down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

# kept: an answer that may serve like questions; hit: one was given; shadow: one would have been.
EventKind = Literal["kept", "hit", "shadow"]


@dataclass(frozen=True, slots=True)
class Event:
    """`entry`: the key in hex of the answer; `question`: a digest of the question in its partition, which
    tells repetitions and nothing else; `team`, `route`: their numbers; `prompt`: the question's text where
    the route has it written down, else ""."""

    kind: EventKind
    at: datetime
    request_id: str
    team: int
    route: int
    model: str
    embedder: str
    entry: str
    question: str
    similarity: float = 0.0
    threshold: float = 0.0
    prompt: str = ""
