"""From the rounds' figures to medians, and from medians to the tables of one run, as markdown and as JSON."""

import json
import os
import platform
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.measure import Figures, Outcome


@dataclass(slots=True)
class Row:
    """One contender over all rounds; `skipped` says why there is nothing."""

    title: str
    version: str = ""
    rounds: list[Outcome] = field(default_factory=list)
    skipped: str = ""

    def medians(self) -> Figures:
        """Each figure's median over the rounds."""
        names = {name: None for outcome in self.rounds for name in outcome.figures}
        return {name: statistics.median(_values(self.rounds, name)) for name in names}

    def faults(self) -> Counter[str]:
        """All faults of all rounds."""
        return sum((outcome.faults for outcome in self.rounds), Counter())


def _values(rounds: Iterable[Outcome], name: str) -> list[float]:
    return [outcome.figures[name] for outcome in rounds if name in outcome.figures]


def machine() -> dict[str, str]:
    """What the figures were seen on."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processor": model,
        "cores": str(len(os.sched_getaffinity(0))),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def _columns(rows: Mapping[str, Row]) -> list[tuple[str, str]]:
    """The figures of the main table, in order, with their titles; stream columns as the run had them."""
    columns = [
        ("requests_per_s", "requests/s"),
        ("cpu_us_per_request", "CPU µs/request"),
        ("p50_ms", "p50 ms"),
        ("p99_ms", "p99 ms"),
        ("added_p50_ms", "added p50 ms, 1 connection"),
    ]
    runs = {
        name.removesuffix("_chunks_per_s"): None
        for row in rows.values()
        for name in row.medians()
        if name.endswith("_chunks_per_s")
    }
    for run in runs:
        kind, _, count = run.partition("_")
        words = f"{count} streams" if kind == "streams" else f"{count} cross-dialect streams"
        columns += [
            (f"{run}_chunks_per_s", f"{words}: chunks/s"),
            (f"{run}_cpu_us_per_chunk", f"{words}: CPU µs/chunk"),
            (f"{run}_first_p50_ms", f"{words}: first chunk p50 ms"),
            (f"{run}_silent", f"{words}: never a chunk in time"),
        ]
    columns += [
        ("rss_idle_mib", "MiB idle"),
        ("rss_after_mib", "MiB after load"),
        ("start_s", "start s"),
    ]
    return columns


def _number(value: float | None) -> str:
    if value is None or value != value:  # NaN: nothing was answered
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    body = ["| " + " | ".join(line) + " |" for line in ([*head], ["---"] * len(head), *lines)]
    return "\n".join(body)


def figures_table(rows: Mapping[str, Row]) -> str:
    """Medians; one line per figure, one column per contender."""
    shown = {name: row for name, row in rows.items() if row.rounds}
    medians = {name: row.medians() for name, row in shown.items()}
    lines = [
        [title, *(_number(medians[name].get(figure)) for name in shown)]
        for figure, title in _columns(shown)
        if any(figure in found for found in medians.values())
    ]
    lines.append(["faults", *(str(row.faults().total()) for row in shown.values())])
    return _table(["", *(row.title for row in shown.values())], lines)


def ratios_table(rows: Mapping[str, Row], own: Sequence[str]) -> str:
    """Ours against each peer, as times better: more requests or chunks, less CPU. Empty without either."""
    ours = {name: rows[name] for name in own if name in rows and rows[name].rounds}
    peers = {name: row for name, row in rows.items() if name not in own and name != "direct" and row.rounds}
    if not ours or not peers:
        return ""
    lines = []
    for row in ours.values():
        mine = row.medians()
        for peer in peers.values():
            theirs = peer.medians()
            more = [figure for figure, _ in _columns(rows) if figure.endswith("_per_s")]
            less = [figure for figure, _ in _columns(rows) if "cpu_us" in figure]
            cells = [_ratio(mine.get(figure), theirs.get(figure)) for figure in more]
            cells += [_ratio(theirs.get(figure), mine.get(figure)) for figure in less]
            lines.append([f"{row.title} : {peer.title}", *cells])
    titles = [title for figure, title in _columns(rows) if figure.endswith("_per_s")]
    titles += [f"{title}, less" for figure, title in _columns(rows) if "cpu_us" in figure]
    return _table(["times better", *titles], lines)


def _ratio(over: float | None, under: float | None) -> str:
    if not over or not under or over != over or under != under:
        return "-"
    return f"{over / under:.1f} x"


def notes(rows: Mapping[str, Row]) -> list[str]:
    """Versions, skipped contenders and named faults, one line each."""
    lines = []
    for row in rows.values():
        if row.skipped:
            lines.append(f"SKIPPED {row.title}: {' '.join(row.skipped.split())[:600]}")
        elif row.version:
            lines.append(f"{row.title}: {row.version}, {len(row.rounds)} round(s)")
        lines += [f"FAULT {row.title}: {number} x {fault}" for fault, number in row.faults().most_common(8)]
    return lines


def markdown(rows: Mapping[str, Row], own: Sequence[str], about: Mapping[str, str]) -> str:
    """The whole report."""
    parts = [
        "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in about.items()),
        figures_table(rows),
        ratios_table(rows, own),
        "\n".join(f"- {line}" for line in notes(rows)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def document(rows: Mapping[str, Row], about: Mapping[str, str]) -> str:
    """The same as JSON, with each round's own figures."""
    contenders = {
        name: {
            "title": row.title,
            "version": row.version,
            "skipped": row.skipped,
            "medians": row.medians(),
            "rounds": [{"figures": outcome.figures, "faults": outcome.faults} for outcome in row.rounds],
        }
        for name, row in rows.items()
    }
    return json.dumps({"about": about, "contenders": contenders}, indent=2)
