"""What a start brings about before it serves, in words that are known also where the setting up itself is not
loaded."""

from __future__ import annotations

from dataclasses import dataclass, field

# The first user of the admin.
ADMIN = "admin"


class DatabaseUnavailableError(Exception):
    """The database did not answer in time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What this start made: None where it was there already or came from the environment. `model`: one that
    will answer; None where no provider is set up."""

    first: bool
    key: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    model: str | None = None
