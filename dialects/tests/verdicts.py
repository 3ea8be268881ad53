"""The table of docs/translation.md, found by asking the translators themselves.

`python -m dialects.tests.verdicts` writes it anew; the diff is then for a reader to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dialects.completions_several import several
from dialects.errors import GatewayError
from dialects.table import DIALECTS, TRANSLATORS, choose
from dialects.tests.verdict_samples import MINIMAL, SAMPLES
from dialects.types import JsonObject, ModelFacts

PAGE = Path(__file__).resolve().parents[2] / "docs" / "translation.md"
_BEGIN, _END = "<!-- verdicts -->\n", "<!-- /verdicts -->\n"


@dataclass(frozen=True, slots=True)
class Column:
    """A provider as the table names it: the dialect that it is asked in, a model that stands for its like,
    and the dialects in which it is asked for special needs."""

    title: str
    upstream: str
    model: str
    also: tuple[str, ...] = ()


_ANTHROPIC = Column("Anthropic", "messages", "claude-sonnet-4-5")
_ANTHROPIC_NEWEST = Column("Anthropic", "messages", "claude-opus-4-7")
_OLLAMA = Column("Ollama", "ollama_chat", "qwen3", also=("ollama_generate",))
_COMPATIBLE = Column("OpenAI-compatible", "chat", "llama-3.3-70b")
COLUMNS: dict[str, tuple[Column, ...]] = {
    "chat": (_ANTHROPIC, _ANTHROPIC_NEWEST, _OLLAMA),
    "messages": (Column("OpenAI", "chat", "gpt-4o"), Column("OpenAI", "chat", "gpt-5"), _COMPATIBLE, _OLLAMA),
    "responses": (_COMPATIBLE, _ANTHROPIC, _OLLAMA),
    "completions": (Column("OpenAI", "chat", "gpt-4o"), _ANTHROPIC, _OLLAMA),
    "embeddings": (Column("Ollama", "ollama_embed", "nomic-embed-text"),),
}
# Fields of providers in which several knobs of a client stand.
_GATHER = frozenset({"options", "output_config", "metadata", "tool_choice"})
_ADDRESSES = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
}


def asked(client: str, column: Column, fields: JsonObject) -> tuple[JsonObject, list[str]]:
    """What the provider is sent for a minimal request with these fields, and what is dropped. Raises
    GatewayError where the request is refused."""
    body = MINIMAL[client] | fields
    facts = DIALECTS[client].facts(body)
    # What is asked prompt by prompt is asked alike for each.
    body = next(iter(_apart(client, fields)), body)
    model = ModelFacts(name=column.model)
    upstream = choose(client, (column.upstream, *column.also), facts, lambda: model)
    assert upstream is not None
    translator = TRANSLATORS[client, upstream]()
    sent = translator.request(body, model)
    return sent, list(translator.dropped)


def verdict(client: str, column: Column, sample: str) -> str:
    """One cell: carried, the fields that it becomes, dropped, or 400."""
    fields = SAMPLES[client][sample]
    try:
        sent, dropped = asked(client, column, fields)
    except GatewayError:
        return "400"
    if _apart(client, fields):
        return "a call for each"
    # What stands beside the field because it needs it is no part of the verdict.
    beside, _ = asked(client, column, _without(client, sample))
    paths = sorted(_changed(beside, sent))
    name = re.sub(r" \(.*\)$", "", sample)
    told = "drops " + ", ".join(f"`{each}`" for each in dropped) if dropped else ""
    if dropped == [name] and not paths:
        return "dropped"
    if not paths:
        return told or "nothing to send"
    field = name.partition(".")[0]
    if field not in fields or field in {path.partition(".")[0] for path in paths}:
        became = "carried"
    else:
        became = "→ " + ", ".join(f"`{path}`" for path in paths)
    return f"{became}; {told}" if told else became


def _apart(client: str, fields: JsonObject) -> list[JsonObject]:
    """The bodies of which each is asked by itself, none where one is asked."""
    return several(MINIMAL[client] | fields) if client == "completions" else []


def _without(client: str, sample: str) -> JsonObject:
    """The sample less what it is about: its first word's field, where it has others that are fields too."""
    fields = SAMPLES[client][sample]
    name = sample.partition(" ")[0].partition(".")[0]
    if name not in fields:
        return {}
    rest = {key: value for key, value in fields.items() if key != name}
    # A cap of their own is what efforts are a share of; what is said of audio or functions belongs together.
    return {key: value for key, value in rest.items() if key in ("tools", "stream", "max_tokens", "logprobs")}


def _changed(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Paths of the fields that differ; of those that gather knobs, the knobs."""
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if key in _GATHER and isinstance(old or {}, dict) and isinstance(new or {}, dict):
            yield from _changed(old or {}, new or {}, f"{key}.")
        elif path != "tool_choice." or key != "type":
            yield path + key


def tables() -> str:
    """All tables as Markdown."""
    parts = []
    for client, columns in COLUMNS.items():
        head = ["sent to " + _ADDRESSES[client]] + [f"{c.title}, {c.model}" for c in columns]
        lines = [f"### {_ADDRESSES[client]}", "", _row(head), _row(["---"] * len(head))]
        for sample in SAMPLES[client]:
            label = sample if " " in sample and "(" not in sample else _ticked(sample)
            lines.append(_row([label, *(verdict(client, column, sample) for column in columns)]))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _ticked(sample: str) -> str:
    name, space, rest = sample.partition(" ")
    return f"`{name}`{space}{rest}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def written(page: str) -> str:
    """The part of the page that these tables are."""
    return page[page.index(_BEGIN) + len(_BEGIN) : page.index(_END)]


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(_BEGIN)
    PAGE.write_text(head + _BEGIN + tables() + _END + rest.split(_END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
