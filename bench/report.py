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
from bench.targets import verdicts

_ALL = 0.985  # of the chunks on offer: more is never lost, only not yet read when the window closes
_LOADED = 0.9  # of the load's core: from here on the harness may be what is measured
_NOISY = 0.1  # of the gateway's core used by others: from here on only CPU per request can be trusted


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
        ("requests_cpu_us_per_request", "CPU µs/request"),
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


def _delivered_all(figures: Figures, figure: str) -> bool:
    offered = figures.get(f"{figure.removesuffix('_chunks_per_s')}_offered")
    return offered is not None and figures.get(figure, 0.0) >= _ALL * offered


def _cell(figures: Figures, figure: str) -> str:
    text = _number(figures.get(figure))
    return f"{text} (all)" if _delivered_all(figures, figure) else text


def _busiest(figures: Figures, suffix: str) -> str:
    shares = [value for name, value in figures.items() if name.endswith(suffix)]
    return f"{max(shares):.0%}" if shares else "-"


def figures_table(rows: Mapping[str, Row]) -> str:
    """Medians; one line per figure, one column per contender. "(all)": every chunk that was on offer."""
    shown = {name: row for name, row in rows.items() if row.rounds}
    medians = {name: row.medians() for name, row in shown.items()}
    lines = [
        [title, *(_cell(medians[name], figure) for name in shown)]
        for figure, title in _columns(shown)
        if any(figure in found for found in medians.values())
    ]
    for suffix, title in (
        ("_load_core", "mock and load, of their core, at most"),
        ("_others", "others, of the gateway's core, at most"),
    ):
        lines.append([title, *(_busiest(found, suffix) for found in medians.values())])
    lines.append(["faults", *(str(row.faults().total()) for row in shown.values())])
    return _table(["", *(row.title for row in shown.values())], lines)


def ratios_table(rows: Mapping[str, Row], own: Sequence[str]) -> str:
    """One table for each of ours that ran: how many times better than each peer. Empty without any peer."""
    peers = [row for name, row in rows.items() if name not in own and name != "direct" and row.rounds]
    ours = [rows[name] for name in own if name in rows and rows[name].rounds]
    return "\n\n".join(_ratios(row, peers, _columns(rows)) for row in ours) if peers else ""


def goals_table(rows: Mapping[str, Row], own: Sequence[str]) -> str:
    """What was to be reached and whether it was, one table for each of ours that ran."""
    medians = {name: row.medians() for name, row in rows.items() if row.rounds}
    head = ("goal", "seen", "")
    return "\n\n".join(
        _table((rows[name].title, *head), verdicts(name, medians)) for name in own if name in medians
    )


def _ratios(row: Row, peers: Sequence[Row], columns: Sequence[tuple[str, str]]) -> str:
    """More requests and chunks a second, less CPU for each."""
    mine = row.medians()
    theirs = [peer.medians() for peer in peers]
    lines = [
        [title, *(_more(mine, figures, figure) for figures in theirs)]
        for figure, title in columns
        if figure.endswith("_per_s")
    ]
    lines += [
        [f"{title}, less", *(_ratio(figures.get(figure), mine.get(figure)) for figures in theirs)]
        for figure, title in columns
        if "cpu_us" in figure
    ]
    return _table([f"{row.title}, times better than", *(peer.title for peer in peers)], lines)


def _more(mine: Figures, theirs: Figures, figure: str) -> str:
    """Who delivered all that was on offer might have delivered more; where both did, nothing is known."""
    text = _ratio(mine.get(figure), theirs.get(figure))
    if text == "-" or not _delivered_all(mine, figure):
        return text
    return "both all" if _delivered_all(theirs, figure) else f"{text} or more"


def _ratio(over: float | None, under: float | None) -> str:
    if not over or not under or over != over or under != under:
        return "-"
    return f"{over / under:.1f} x"


def _warnings(row: Row) -> list[str]:
    """What makes a contender's speed doubtful: a load tool at its limit, or a core that was not its own."""
    lines: list[str] = []
    if not row.version:
        return lines  # no gateway: being at the load tool's limit is what it is for
    for name, value in row.medians().items():
        if name.endswith("_load_core") and value > _LOADED:
            lines.append(
                f"LIMIT {row.title}: {name.removesuffix('_load_core')}: load's core {value:.0%} busy"
            )
        elif name.endswith("_others") and value > _NOISY:
            lines.append(
                f"NOISE {row.title}: {name.removesuffix('_others')}: others used {value:.0%} of its core"
            )
    return lines


def notes(rows: Mapping[str, Row]) -> list[str]:
    """Versions, skipped contenders, named faults and what makes a figure doubtful, one line each."""
    lines = []
    for row in rows.values():
        if row.skipped:
            lines.append(f"SKIPPED {row.title}: {' '.join(row.skipped.split())[:600]}")
        elif row.version:
            lines.append(f"{row.title}: {row.version}, {len(row.rounds)} round(s)")
        lines += [f"FAULT {row.title}: {number} x {fault}" for fault, number in row.faults().most_common(8)]
        lines += _warnings(row)
    return lines


def markdown(rows: Mapping[str, Row], own: Sequence[str], about: Mapping[str, str]) -> str:
    """The whole report."""
    parts = [
        "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in about.items()),
        figures_table(rows),
        ratios_table(rows, own),
        goals_table(rows, own),
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
