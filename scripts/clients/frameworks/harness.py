"""What the programs of this folder share: the gateway's address, the models, a line of JSON for each case.

A program prints {"client", "version"}, waits for a line on its standard input (until then the gateway's log
speaks of the client before it), and then prints for each case {"surface", "provider", "case", "error"}: what
it did, and null or what was wrong. The models obey orders in the last user message, such as `call:NAME
{json}`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

URL = os.environ["GATEWAY_URL"]
OPENAI_URL = URL + "/v1"
KEY = os.environ["GATEWAY_KEY"]

WORDS = " ".join(f"word{number}" for number in range(1, 10))
TWO_CALLS = 'call:get_weather {"city": "Paris"}\ncall:get_weather {"city": "Z\\u00fcri\\n\\"West\\""}'
# Done by a model that has such a tool; one that is held to a schema answers an instance of that instead.
PERSON_CALL = 'call:{} {{"name": "Ada", "age": 36}}'
TWO_CITIES = ["Paris", 'Züri\n"West"']
_SHOWN = 600  # characters of an error: enough to see what it is


class Person(BaseModel):
    """What structured output is asked for."""

    name: str
    age: int


@dataclass(frozen=True, slots=True)
class Names:
    """A provider's models for what they can do; "" where it has none. `claude`: a model of this provider
    behind one of Claude's names."""

    text: str
    thinking: str
    missing: str
    claude: str
    embedding: str = ""


PROVIDERS = {
    "openai": Names("gpt-4.1", "gpt-5", "gpt-99", "claude-3-5-haiku-latest", "text-embedding-3-small"),
    "anthropic": Names("claude-sonnet-4-6", "claude-sonnet-4-6", "claude-none", "claude-sonnet-4-5"),
    "ollama": Names("llama3.2", "qwen3:8b", "no-such-model", "claude-3-haiku-20240307", "nomic-embed-text"),
}


def report(city: str) -> str:
    """What the tool answers."""
    return f"21 degrees in {city}"


REPORTED = " | ".join(report(city) for city in TWO_CITIES)


def client(name: str, *packages: str) -> None:
    """Name the client that the cases after it are about."""
    versions = [importlib.metadata.version(package) for package in packages or (name,)]
    print(json.dumps({"client": name, "version": ", ".join(versions)}), flush=True)
    sys.stdin.readline()


def check(surface: str, provider: str, case: str, act: Callable[[], None]) -> None:
    """One case: `act` raises when the client did not get what it should have."""
    error = None
    try:
        act()
    except Exception as raised:  # noqa: BLE001 - whatever a client raises is what is looked for
        error = f"{type(raised).__name__}: {raised}"[:_SHOWN]
    line = {"surface": surface, "provider": provider, "case": case, "error": error}
    print(json.dumps(line), flush=True)


def same(found: object, expected: object) -> None:
    """AssertionError where they differ."""
    if found != expected:
        raise AssertionError(f"{found!r} instead of {expected!r}")


def holds(condition: object, words: str) -> None:
    """AssertionError with these words where the condition is false."""
    if not condition:
        raise AssertionError(words)


def fails(act: Callable[[], object], status: int) -> None:
    """AssertionError unless it raises an error that has this HTTP status, itself or as its cause."""
    try:
        act()
    except Exception as raised:
        error: BaseException | None = raised
        while error is not None and getattr(error, "status_code", None) != status:
            error = error.__cause__ or error.__context__
        if error is None:
            raise AssertionError(f"not an error of status {status}: {raised!r}") from raised
        return
    raise AssertionError("nothing was raised")


def breaks(act: Callable[[], object]) -> None:
    """AssertionError unless it raises."""
    try:
        act()
    except Exception:  # noqa: BLE001 - whatever a client raises will do
        return
    raise AssertionError("a stream that broke looked complete")
