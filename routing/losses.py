"""What was lost in translation, as it is gathered and written down."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple


class Loss(NamedTuple):
    """Which field was lost where. `refused`: the route is strict, and the call was refused for it."""

    day: date
    route: str
    provider: str
    surface: str
    model: str
    field: str
    refused: bool


@dataclass(slots=True)
class Tally:
    """How often, and when last."""

    count: int
    last_seen: datetime
