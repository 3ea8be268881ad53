"""What this gateway must reach beside its peers, as rows of data, and whether one run has shown it."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.measure import Figures

# The compiled gateways, of which the best one counts.
COMPILED = ("smg", "tensorzero", "ferro")


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of one figure on each server; None: not asked for there. With `peers` it bounds how many times
    the best of them; `over` names another figure of our own to divide by. `most`: the figure has to stay
    below."""

    title: str
    figure: str
    daphne: float | None
    uvicorn: float | None
    peers: tuple[str, ...] = ()
    over: str = ""
    most: bool = False

    def bound(self, server: str) -> float | None:
        """What is asked on this server."""
        return self.daphne if server == "daphne" else self.uvicorn

    def value(self, mine: Figures, medians: Mapping[str, Figures]) -> float | None:
        """What the run shows; None where it cannot tell."""
        figure = mine.get(self.figure)
        if figure is None or figure != figure:
            return None
        if self.over:
            divisor = mine.get(self.over)
        elif self.peers:
            divisor = max((medians.get(peer, {}).get(self.figure, 0.0) for peer in self.peers), default=0.0)
        else:
            return figure
        return figure / divisor if divisor else None


GOALS = (
    Goal("requests/s, times LiteLLM", "requests_per_s", 20, 45, peers=("litellm",)),
    Goal("requests/s, times Portkey", "requests_per_s", 2, 4, peers=("portkey",)),
    Goal("requests/s, times the best compiled gateway", "requests_per_s", None, 0.8, peers=COMPILED),
    Goal("added latency p50, 1 connection, ms", "added_p50_ms", 2, 1, most=True),
    Goal("256 streams: chunks/s, times LiteLLM", "streams_256_chunks_per_s", 8, 18, peers=("litellm",)),
    Goal("256 streams: chunks/s, times Portkey", "streams_256_chunks_per_s", None, 1, peers=("portkey",)),
    Goal("256 streams: CPU µs per chunk", "streams_256_cpu_us_per_chunk", 170, 75, most=True),
    Goal(
        "256 cross-dialect streams: chunks/s, of those that pass through",
        "cross_256_chunks_per_s",
        0.5,
        0.5,
        over="streams_256_chunks_per_s",
    ),
    Goal("MiB idle", "rss_idle_mib", 120, 120, most=True),
    Goal("start to first answer, s", "start_s", 3, 3, most=True),
)


def verdicts(server: str, medians: Mapping[str, Figures]) -> list[tuple[str, str, str, str]]:
    """For each goal on this server that the run can judge: title, bound, value, and `pass` or `FAIL`."""
    mine = medians.get(server, {})
    lines = []
    for goal in GOALS:
        bound, value = goal.bound(server), goal.value(mine, medians)
        if bound is None or value is None:
            continue
        reached = value < bound if goal.most else value >= bound
        wanted = f"under {bound:g}" if goal.most else f"{bound:g} or more"
        lines.append((goal.title, wanted, f"{value:.2f}", "pass" if reached else "FAIL"))
    return lines
