"""What became of the cases, and how that is told: on the terminal and as a table in docs/clients.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROVIDERS = {"openai": "OpenAI", "anthropic": "Anthropic", "ollama": "Ollama"}
BEGIN, END = "<!-- results: written by make clients -->", "<!-- end of results -->"
# A list of models is the gateway's own; no provider is asked.
_OWN = "models"


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that one client did on a surface with a provider's model. `error`: None where it got what it
    should have."""

    client: str
    version: str
    surface: str
    provider: str
    name: str
    error: str | None


@dataclass(slots=True)
class Outcomes:
    """All cases of a run, and what the gateway logged meanwhile: per (client, surface, provider) the fields
    that could not travel. A combination without a log record never got to its provider."""

    cases: list[Case] = field(default_factory=list)
    dropped: dict[tuple[str, str, str], set[str]] = field(default_factory=dict)

    def heard(self, client: str, records: Iterable[dict[str, Any]]) -> None:
        """Take the gateway's log records of what this client did."""
        for record in records:
            row = self.dropped.setdefault((client, record["surface"], record["provider"]), set())
            row.update(record.get("dropped") or ())

    def settle(self) -> None:
        """Add a failed case for each combination that the gateway knows nothing of."""
        known = {(case.client, case.version, case.surface, case.provider) for case in self.cases}
        for client, version, surface, provider in sorted(known):
            if surface != _OWN and (client, surface, provider) not in self.dropped:
                error = "the gateway has logged no such call"
                self.cases.append(Case(client, version, surface, provider, "seen by the gateway", error))

    @property
    def failed(self) -> list[Case]:
        return [case for case in self.cases if case.error is not None]

    def rows(self) -> Iterator[tuple[str, str, list[str], list[str]]]:
        """Client with version, surface, "passed of all" per provider ("" where not tried), names of cases."""
        groups: dict[tuple[str, str], list[Case]] = {}
        for case in self.cases:
            groups.setdefault((f"{case.client} {case.version}", case.surface), []).append(case)
        for (client, surface), cases in groups.items():
            counts = []
            for provider in PROVIDERS:
                errors = [case.error for case in cases if case.provider == provider]
                counts.append(f"{errors.count(None)} of {len(errors)}" if errors else "")
            yield client, surface, counts, list(dict.fromkeys(case.name for case in cases))


def table(outcomes: Outcomes, where: str) -> str:
    """The run as Markdown. `where`: one sentence on when and against what."""
    lines = [
        where,
        "",
        f"| client | surface | {' | '.join(PROVIDERS.values())} | cases |",
        "|---|---|" + "---|" * len(PROVIDERS) + "---|",
    ]
    for client, surface, counts, names in outcomes.rows():
        lines.append(f"| {client} | {surface} | {' | '.join(counts)} | {', '.join(names)} |")
    lines += ["", "Did not work:", ""]
    lines += [
        f"- {case.client}, {case.surface}, {PROVIDERS[case.provider]}, {case.name}: `{_inline(case.error)}`"
        for case in outcomes.failed
    ] or ["- nothing"]
    lines += ["", "Could not travel, and was named in `x-gateway-dropped`:", ""]
    lines += list(_losses(outcomes)) or ["- nothing"]
    return "\n".join(lines)


def _losses(outcomes: Outcomes) -> Iterator[str]:
    """One line for each surface and provider where fields were lost, with the clients that sent them."""
    lost: dict[tuple[str, str], dict[str, list[str]]] = {}
    for (client, surface, provider), names in outcomes.dropped.items():
        for name in sorted(names):
            lost.setdefault((surface, provider), {}).setdefault(name, []).append(client)
    for (surface, provider), fields in sorted(lost.items()):
        told = "; ".join(f"`{name}` ({', '.join(clients)})" for name, clients in sorted(fields.items()))
        yield f"- {surface} to {PROVIDERS[provider]}: {told}"


def _inline(text: str | None) -> str:
    return " ".join((text or "").replace("`", "'").replace("|", "/").split())[:200]


def write_into(document: Path, results: str) -> None:
    """Put the results between the document's two marks. ValueError: it has not both."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} has no place for results")
    document.write_text(f"{before}{BEGIN}\n\n{results}\n\n{END}{after}")
