"""`manage.py serve` as a process: what it prints, how it ends, its workers, and a database that is away."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.served import Served
from tests.support.services import PostgresServer

KEY = "a-bootstrap-key-of-the-tests"
SERVERS = ("daphne", "uvicorn")


def wait(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def models(gateway: Served, key: str = KEY) -> int:
    # A call may have to wait for a worker that still starts: on a busy machine for longer than httpx would.
    return httpx.get(gateway.url + "/v1/models", headers={"x-api-key": key}, timeout=60).status_code


@pytest.mark.parametrize("server", SERVERS)
def test_first_and_second_start(tmp_path: Path, server: str) -> None:
    with Served(tmp_path, LLM_GATEWAY_SERVER=server) as gateway:
        assert gateway.output.count("First key") == 1
        key = next(line.split()[-1] for line in gateway.output.splitlines() if "First key" in line)
        assert gateway.password not in gateway.output
        assert models(gateway, key) == 200
        assert gateway.end() == 0
    with Served(tmp_path, LLM_GATEWAY_SERVER=server) as again:
        assert "First key" not in again.output
        assert key not in again.output
        assert again.url in again.output
        assert models(again, key) == 200
        assert again.end() == 0


@pytest.mark.parametrize("server", SERVERS)
def test_workers_share_the_port_and_are_replaced(server: str) -> None:
    with Served(LLM_GATEWAY_SERVER=server, LLM_GATEWAY_WORKERS="2", LLM_GATEWAY_BOOTSTRAP_KEY=KEY) as gateway:
        parent = psutil.Process(gateway.pid)
        wait(lambda: len(parent.children()) == 2)
        wait(lambda: all(_listens(child, gateway.port) for child in parent.children()))
        dead = parent.children()[0].pid
        os.kill(dead, signal.SIGKILL)
        wait(lambda: len(parent.children()) == 2 and dead not in [child.pid for child in parent.children()])
        wait(lambda: all(_listens(child, gateway.port) for child in parent.children()))
        assert all(models(gateway) == 200 for _ in range(10))
        children = parent.children()
        assert gateway.end() == 0
        assert not any(child.is_running() for child in children)


def test_workers_end_when_their_parent_is_killed() -> None:
    with Served(LLM_GATEWAY_SERVER="uvicorn", LLM_GATEWAY_WORKERS="2") as gateway:
        children = psutil.Process(gateway.pid).children()
        gateway.end(signal.SIGKILL)
        wait(lambda: not any(_runs(child) for child in children))


def _runs(child: psutil.Process) -> bool:
    """False also for one that has ended and that nobody has asked about: whose parent is dead may stay so
    for as long as the machine's first process likes."""
    try:
        return child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def answered(gateway: Served) -> int:
    """As `models`, by a client that is made in no time."""
    client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    client.request("GET", "/v1/models", headers={"x-api-key": KEY})
    try:
        return client.getresponse().status
    finally:
        client.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("server", SERVERS)
def test_a_rolling_restart_refuses_nobody(server: str) -> None:
    with Served(LLM_GATEWAY_SERVER=server, LLM_GATEWAY_WORKERS="2", LLM_GATEWAY_BOOTSTRAP_KEY=KEY) as gateway:
        parent = psutil.Process(gateway.pid)
        wait(lambda: _serving(parent, gateway.port) == 2)
        before = {child.pid for child in parent.children()}
        parent.send_signal(signal.SIGHUP)
        answers: list[int] = []

        def replaced() -> bool:
            # A new connection each time, over all of the change.
            answers.append(answered(gateway))
            return before.isdisjoint({child.pid for child in parent.children()})

        wait(replaced, 120)
        assert set(answers) == {200}
        wait(lambda: _serving(parent, gateway.port) == 2)
        assert gateway.end() == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", SERVERS)
def test_workers_that_are_told_to_end_refuse_nobody(server: str) -> None:
    with (
        Served(LLM_GATEWAY_SERVER=server, LLM_GATEWAY_WORKERS="2", LLM_GATEWAY_BOOTSTRAP_KEY=KEY) as gateway,
        ThreadPoolExecutor(4) as pool,
    ):
        parent = psutil.Process(gateway.pid)
        wait(lambda: _serving(parent, gateway.port) == 2)
        before = parent.children()
        done = threading.Event()
        # New connections without a pause, over all of the change.
        callers = [pool.submit(_answers, gateway, done) for _ in range(4)]
        try:
            for worker in before:
                # Both at nearly the same moment: nobody serves until a successor does.
                worker.terminate()
            wait(lambda: not any(_runs(worker) for worker in before), 120)
            wait(lambda: models(gateway) == 200, 120)
        finally:
            done.set()
        answers = [caller.result(60) for caller in callers]
        assert all(answers)
        assert {status for each in answers for status in each} == {200}
        assert gateway.end() == 0


def _answers(gateway: Served, done: threading.Event) -> list[int]:
    found = []
    while not done.is_set():
        found.append(answered(gateway))
    return found


def test_a_new_worker_that_does_not_come_up_replaces_nobody() -> None:
    with Served(
        LLM_GATEWAY_SERVER="uvicorn", LLM_GATEWAY_WORKERS="2", LLM_GATEWAY_BOOTSTRAP_KEY=KEY
    ) as gateway:
        parent = psutil.Process(gateway.pid)
        wait(lambda: _serving(parent, gateway.port) == 2)
        before = {child.pid for child in parent.children()}
        parent.send_signal(signal.SIGHUP)
        wait(lambda: len(parent.children()) == 3)
        [new] = [child for child in parent.children() if child.pid not in before]
        new.kill()
        wait(lambda: "the old ones go on" in gateway.output)
        assert {child.pid for child in parent.children()} == before
        assert models(gateway) == 200


def _serving(parent: psutil.Process, port: int) -> int:
    """How many children of the parent listen on the port."""
    return sum(_listens(child, port) for child in parent.children())


def test_the_metrics_of_workers_are_one() -> None:
    with Served(
        LLM_GATEWAY_SERVER="uvicorn", LLM_GATEWAY_WORKERS="2", LLM_GATEWAY_BOOTSTRAP_KEY=KEY
    ) as gateway:
        body = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}
        for _ in range(12):
            # A new connection each time, so that both workers get some.
            reply = httpx.post(
                gateway.url + "/v1/chat/completions", json=body, headers={"x-api-key": KEY}, timeout=30
            )
            assert reply.status_code == 200
        seen = {_requests(httpx.get(gateway.url + "/metrics").text) for _ in range(6)}
        assert seen == {12.0}


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        gateway = Served(tmp_path, LLM_GATEWAY_SERVER_PORT=str(taken.getsockname()[1]))
        with pytest.raises(RuntimeError, match="cannot be listened on") as refused, gateway:
            pass
    assert "Traceback" not in str(refused.value)
    # The database's file is made with its owner's rights alone before anything looks into it.
    assert (tmp_path / "gateway.sqlite3").stat().st_size == 0


def test_a_wrong_config_file_is_told_in_plain_words(tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("routes: [{pattern: x, targets: [{provider: nobody}]}]")
    with (
        pytest.raises(RuntimeError, match="nobody") as refused,
        Served(tmp_path, LLM_GATEWAY_CONFIG=str(file)),
    ):
        pass
    assert "Traceback" not in str(refused.value)


def test_metrics_behind_a_token() -> None:
    with Served(LLM_GATEWAY_SERVER="uvicorn", LLM_GATEWAY_METRICS_TOKEN="the-token") as gateway:
        url = gateway.url + "/metrics"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer other"}).status_code == 401
        assert httpx.get(url, headers={"authorization": "Bearer the-token"}).status_code == 200


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_start_without_the_database_serves_what_it_last_said(
    tmp_path: Path, fresh_postgres: PostgresServer
) -> None:
    values = {
        "LLM_GATEWAY_SERVER": "uvicorn",
        "LLM_GATEWAY_DATABASE_URL": fresh_postgres.url,
        "LLM_GATEWAY_BOOTSTRAP_KEY": KEY,
    }
    with Served(tmp_path, **values) as gateway:
        assert models(gateway) == 200
        gateway.end()
    fresh_postgres.kill()
    with Served(tmp_path, **values) as gateway:
        assert "the last configuration that was read serves" in gateway.output
        assert models(gateway) == 200
        assert models(gateway, "a-key-that-nobody-ever-issued") == 503
        report = httpx.get(gateway.url + "/ready", headers={"x-api-key": KEY}).json()
        assert (report["ready"], report["degraded"], report["database"]["ok"]) == (True, True, False)
        fresh_postgres.start()
        wait(lambda: models(gateway, "a-key-that-nobody-ever-issued") == 401)


def _listens(process: psutil.Process, port: int) -> bool:
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in process.net_connections())


def _requests(page: str) -> float:
    return sum(
        float(line.rpartition(" ")[2])
        for line in page.splitlines()
        if line.startswith("gateway_requests_total{") and 'surface="chat"' in line
    )
