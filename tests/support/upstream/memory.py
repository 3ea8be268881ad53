"""What the fake remembers between requests, and what a test may tell it about its world."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class StoredFile:
    """A file, and the account that sees it."""

    id: str
    account: str
    filename: str
    purpose: str
    content: bytes
    seconds: int | None = None


@dataclass(slots=True)
class StoredBatch:
    """A batch as it is shown, to the account that sees it."""

    id: str
    account: str
    shown: dict[str, Any]


class Memory:
    """Forgotten by `reset()`.

    `refused_keys`: beginnings of keys that every provider refuses; a gateway's own keys are among them,
    since they must never reach a provider. `extra_models`: names that the OpenAI and Ollama fakes accept
    beyond the real ones. `responses`: the conversations that OpenAI's responses have stored, by their ids;
    `files` and `batches`: those that were made.
    """

    def __init__(self) -> None:
        self.refused_keys: list[str] = ["gw-", "bad"]
        self.extra_models: set[str] = set()
        self.responses: dict[str, list[Any]] = {}
        self.files: dict[str, StoredFile] = {}
        self.batches: dict[str, StoredBatch] = {}
        self._seen: set[Hashable] = set()

    def remember(self, key: Hashable) -> bool:
        """True when this key was remembered before: a warm prompt cache."""
        known = key in self._seen
        self._seen.add(key)
        return known
