"""The report: medians over rounds, ratios against peers, and every doubt about a figure said beside it."""

import json
from collections import Counter

import pytest

from bench.measure import Figures, Outcome
from bench.report import Row, document, figures_table, markdown, ratios_table

OWN = ("ours",)


def row(title: str, *rounds: Figures, faults: Counter[str] | None = None) -> Row:
    outcomes = [Outcome(figures, faults or Counter()) for figures in rounds]
    return Row(title, version="1.0", rounds=outcomes)


def streams(delivered: float, cpu: float) -> Figures:
    return {
        "streams_64_offered": 6400.0,
        "streams_64_chunks_per_s": delivered,
        "streams_64_cpu_us_per_chunk": cpu,
    }


def cells(table: str, title: str) -> list[str]:
    [line] = [line for line in table.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_a_figure_is_the_median_of_its_rounds() -> None:
    rows = {"ours": row("Ours", *({"requests_per_s": speed} for speed in (900.0, 10.0, 500.0)))}
    assert cells(figures_table(rows), "requests/s") == ["500"]


def test_ratios_are_ours_over_theirs_in_speed_and_theirs_over_ours_in_cpu() -> None:
    rows = {
        "ours": row("Ours", {"requests_per_s": 300.0, "requests_cpu_us_per_request": 50.0}),
        "peer": row("Peer", {"requests_per_s": 100.0, "requests_cpu_us_per_request": 600.0}),
    }
    table = ratios_table(rows, OWN)
    assert cells(table, "requests/s") == ["3.0 x"]
    assert cells(table, "CPU µs/request, less") == ["12.0 x"]
    assert table.splitlines()[0] == "| Ours, times better than | Peer |"


def test_a_ratio_of_one_who_delivered_all_that_was_offered_is_a_lower_bound() -> None:
    rows = {"ours": row("Ours", streams(6399.0, 40.0)), "peer": row("Peer", streams(1280.0, 400.0))}
    assert cells(figures_table(rows), "64 streams: chunks/s") == ["6,399 (all)", "1,280"]
    assert cells(ratios_table(rows, OWN), "64 streams: chunks/s") == ["5.0 x or more"]
    assert cells(ratios_table(rows, OWN), "64 streams: CPU µs/chunk, less") == ["10.0 x"]


def test_where_both_delivered_all_that_was_offered_there_is_no_ratio() -> None:
    rows = {"ours": row("Ours", streams(6399.0, 40.0)), "peer": row("Peer", streams(6400.0, 80.0))}
    assert cells(ratios_table(rows, OWN), "64 streams: chunks/s") == ["both all"]
    assert cells(ratios_table(rows, OWN), "64 streams: CPU µs/chunk, less") == ["2.0 x"]


def test_each_of_ours_has_a_table_with_every_peer() -> None:
    speeds = {"ours": 300.0, "other": 200.0, "direct": 900.0, "first": 100.0, "second": 50.0}
    rows = {name: row(name.title(), {"requests_per_s": speed}) for name, speed in speeds.items()}
    ours, other = ratios_table(rows, ("ours", "other")).split("\n\n")
    assert cells(ours, "requests/s") == ["3.0 x", "6.0 x"]
    assert cells(other, "requests/s") == ["2.0 x", "4.0 x"]


def test_a_peer_that_answered_nothing_gives_no_ratio() -> None:
    silent: Figures = {"requests_per_s": 0.0, "p50_ms": float("nan")}
    rows = {"ours": row("Ours", {"requests_per_s": 300.0, "p50_ms": 1.0}), "peer": row("Peer", silent)}
    assert cells(ratios_table(rows, OWN), "requests/s") == ["-"]
    assert cells(figures_table(rows), "p50 ms") == ["1.00", "-"]


def test_no_ratios_without_a_peer() -> None:
    assert ratios_table({"ours": row("Ours", {"requests_per_s": 300.0})}, OWN) == ""


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        (
            {"requests_load_core": 0.95, "requests_others": 0.02},
            "- LIMIT Ours: requests: load's core 95% busy",
        ),
        (
            {"requests_load_core": 0.5, "requests_others": 0.2},
            "- NOISE Ours: requests: others used 20% of its core",
        ),
    ],
)
def test_a_doubtful_figure_is_said(figures: Figures, said: str) -> None:
    lines = markdown({"ours": row("Ours", figures)}, OWN, {}).splitlines()
    assert [line for line in lines if line.startswith(("- LIMIT", "- NOISE"))] == [said]


def test_faults_and_skipped_contenders_are_said() -> None:
    skipped = Row("Peer", skipped="no such\nport")
    text = markdown({"ours": row("Ours", {}, faults=Counter({"lost chunk": 3})), "peer": skipped}, OWN, {})
    assert "- FAULT Ours: 3 x lost chunk" in text
    assert "- SKIPPED Peer: no such port" in text
    assert cells(text, "faults") == ["3"]


def test_the_document_keeps_every_round() -> None:
    rows = {"ours": row("Ours", {"requests_per_s": 1.0}, {"requests_per_s": 3.0})}
    read = json.loads(document(rows, {"cores": "2"}))
    assert read["about"] == {"cores": "2"}
    assert read["contenders"]["ours"]["medians"] == {"requests_per_s": 2.0}
    assert [one["figures"]["requests_per_s"] for one in read["contenders"]["ours"]["rounds"]] == [1.0, 3.0]
