"""Files and batches that providers keep for teams: whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from dialects.types import JsonObject

Kind = Literal["file", "batch"]


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list: so many, after the one with this id ("" for the first), newest first unless
    `ascending`, of one purpose only ("" for all)."""

    limit: int = 20
    after: str = ""
    ascending: bool = False
    purpose: str = ""


FIRST_PAGE = Page()


@dataclass(frozen=True, slots=True)
class Owned:
    """One file or batch: its id at the provider, whose it is, and where. `shown`: as the provider last showed
    it. `credential`: by whose account it was made; None: any."""

    kind: Kind
    id: str
    team: int
    key: int
    provider: int
    credential: int | None = None
    shown: JsonObject = field(default_factory=dict)

    @property
    def expires(self) -> int | None:
        """When the provider deletes it, in seconds since the epoch; None: not by itself."""
        moment = self.shown.get("expires_at")
        # A batch expires in another sense: it is not worked on any longer.
        return moment if self.kind == "file" and type(moment) is int and 0 < moment < 1 << 40 else None


class Ownership(Protocol):
    """Who owns what. All of it blocks, and raises GatewayError (503) where it cannot be known."""

    def add(self, owned: Owned) -> bool:
        """Write it down. False: it is somebody else's already, and stays so."""
        ...

    def find(self, team: int, kind: Kind, name: str) -> Owned | None:
        """The team's own object with this id; None: it has none, whoever else may."""
        ...

    def page(self, team: int, kind: Kind, page: Page) -> tuple[Sequence[Owned], bool]:
        """A part of the team's own, and whether there are more."""
        ...

    def show(self, owned: Owned) -> None:
        """Keep how the provider shows it now."""
        ...

    def remove(self, owned: Owned) -> None:
        """The provider has deleted it."""
        ...

    def strangers(self, team: int, names: Sequence[str]) -> Sequence[str]:
        """Which of these ids are files of other teams, or can be nobody's."""
        ...
