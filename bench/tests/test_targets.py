"""Whether a run has shown what was to be reached."""

from bench.measure import Figures
from bench.targets import verdicts


def seen(title: str, server: str, medians: dict[str, Figures]) -> list[tuple[str, str]]:
    return [(value, verdict) for name, _, value, verdict in verdicts(server, medians) if name == title]


def test_a_ratio_is_that_to_the_best_of_the_peers() -> None:
    medians = {
        "uvicorn": {"requests_per_s": 900.0},
        "smg": {"requests_per_s": 1000.0},
        "ferro": {"requests_per_s": 500.0},
    }
    title = "requests/s, times the best compiled gateway"
    assert seen(title, "uvicorn", medians) == [("0.90", "pass")]
    medians["smg"]["requests_per_s"] = 1200.0
    assert seen(title, "uvicorn", medians) == [("0.75", "FAIL")]


def test_what_did_not_run_is_not_judged() -> None:
    assert seen("requests/s, times LiteLLM", "uvicorn", {"uvicorn": {"requests_per_s": 900.0}}) == []
    assert verdicts("daphne", {}) == []


def test_a_bound_from_above_and_one_that_differs_between_the_servers() -> None:
    medians = {"uvicorn": {"added_p50_ms": 1.5}, "daphne": {"added_p50_ms": 1.5}}
    title = "added latency p50, 1 connection, ms"
    assert seen(title, "uvicorn", medians) == [("1.50", "FAIL")]
    assert seen(title, "daphne", medians) == [("1.50", "pass")]


def test_a_figure_over_another_of_ours() -> None:
    medians = {"daphne": {"cross_256_chunks_per_s": 40.0, "streams_256_chunks_per_s": 100.0}}
    title = "256 cross-dialect streams: chunks/s, of those that pass through"
    assert seen(title, "daphne", medians) == [("0.40", "FAIL")]
