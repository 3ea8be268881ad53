"""The ledger of whole gateway processes: killed, stopped, several, and begun anew."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_upstream import FakeUpstream, Match
from tests.support.served import Served
from tests.support.upstream.script import Answer, Stall

KEY = "sk-ledger-0123456789-abcdef"
PATIENCE = 30.0


@contextmanager
def a_gateway(folder: Path, fake: FakeUpstream, **environ: str) -> Iterator[Served]:
    settings = {
        "LLM_GATEWAY_BOOTSTRAP_KEY": KEY,
        "LLM_GATEWAY_PROVIDERS_OPENAI_API_KEY": "sk-openai-0123456789",
        "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": fake.openai_url,
        **environ,
    }
    with Served(folder, **settings) as gateway:
        yield gateway


class Asked:
    """A call on a connection of its own, sent and not yet answered."""

    def __init__(self, gateway: Served, **body: Any) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE)
        words = {"model": "gpt-4o", "messages": [{"role": "user", "content": "count:3"}], **body}
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        self.connection.request("POST", "/v1/chat/completions", json.dumps(words), headers)

    def answer(self) -> int:
        """The status of the whole answer."""
        with closing(self.connection):
            response = self.connection.getresponse()
            response.read()
            return response.status


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{folder}/gateway.sqlite3?mode=ro", uri=True, timeout=20)) as database:
        return database.execute(sql).fetchall()


def states(folder: Path) -> list[str]:
    return [state for (state,) in rows(folder, "SELECT state FROM accounts_requestentry ORDER BY id")]


def written(folder: Path, count: int) -> bool:
    return len(states(folder)) == count


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


# Each of them starts the gateway twice or more, which takes three seconds, and ten on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_a_killed_process_loses_nothing_and_its_budget_goes_on(
    tmp_path: Path, fake_upstream: FakeUpstream
) -> None:
    """SIGKILL while one call is under way and another's end is only in the journal."""
    fake_upstream.script(Match(path="/chat/completions", nth=2), [Stall()])
    config = tmp_path / "config.yaml"
    config.write_text("budgets:\n  - {unit: tokens, amount: 4300, period: month}\n")
    with a_gateway(tmp_path, fake_upstream, LLM_GATEWAY_CONFIG=str(config)) as gateway:
        assert Asked(gateway, max_tokens=50).answer() == 200
        stuck = Asked(gateway, max_tokens=4000)
        until(lambda: len(fake_upstream.requests) == 2)
        os.kill(gateway.pid, signal.SIGKILL)
        gateway.wait()
        stuck.connection.close()
    with a_gateway(tmp_path, fake_upstream, LLM_GATEWAY_CONFIG=str(config)) as gateway:
        # The counter begins at what the killed process used, and reserved.
        refused = Asked(gateway, max_tokens=400)
        assert refused.answer() == 429
        until(lambda: sorted(states(tmp_path)) == ["orphaned", "settled"])
        ((tokens, source, cost, reserved),) = rows(
            tmp_path,
            "SELECT input_tokens + output_tokens, usage_source, cost, reserved_cost "
            "FROM accounts_requestentry WHERE state = 'orphaned'",
        )
        assert tokens > 4000
        assert source == "reservation"
        assert cost == reserved
        assert rows(tmp_path, "SELECT state, provider FROM accounts_attemptentry ORDER BY state") == [
            ("orphaned", "openai"),
            ("settled", "openai"),
        ]
        assert gateway.end() == 0
    assert list((tmp_path / "ledger").iterdir()) == []


def test_workers_write_side_by_side_and_the_end_of_them_loses_nothing(
    tmp_path: Path, fake_upstream: FakeUpstream
) -> None:
    fake_upstream.script(
        Match(
            path="/chat/completions",
            where=lambda request: b'"stream":true' in request.body.replace(b" ", b""),
        ),
        [Answer(events=3), Stall()],
    )
    with a_gateway(tmp_path, fake_upstream, LLM_GATEWAY_WORKERS="2") as gateway:
        asked = 0
        # The second may listen a moment later.
        while len(rows(tmp_path, "SELECT DISTINCT process FROM accounts_requestentry")) < 2:
            assert [each.answer() for each in [Asked(gateway) for _ in range(10)]] == [200] * 10
            asked += 10
            until(partial(written, tmp_path, asked))
        stream = Asked(gateway, stream=True)
        until(partial(written, tmp_path, asked + 1))
        stream.connection.close()
        assert gateway.end() == 0
    assert sorted(states(tmp_path)) == ["estimated", *["settled"] * asked]
    ((requests,),) = rows(tmp_path, "SELECT SUM(requests) FROM accounts_usageday")
    assert requests == asked + 1
    assert list((tmp_path / "ledger").iterdir()) == []


def test_reconcile_says_what_differs(tmp_path: Path, fake_upstream: FakeUpstream) -> None:
    with a_gateway(tmp_path, fake_upstream) as gateway:
        assert Asked(gateway).answer() == 200
        until(lambda: states(tmp_path) == ["settled"])
        assert "Nothing differs." in gateway.manage("ledger", "reconcile")
        assert gateway.end() == 0
        with closing(sqlite3.connect(tmp_path / "gateway.sqlite3")) as database:
            database.execute("UPDATE accounts_usageday SET cost = cost + 1")
            database.commit()
        with pytest.raises(Exception, match="returned non-zero exit status 1") as failed:
            gateway.manage("ledger", "reconcile")
        assert re.search(r"sums: .*cost: rows \d+, sums \d+", failed.value.stdout)  # type: ignore[attr-defined]  # CalledProcessError
