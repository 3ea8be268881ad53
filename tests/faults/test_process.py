"""Faults of the process itself: it is told to end, killed, out of memory or of files, blocked, or its clock
jumps. Whole gateways, real signals."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import redis

from gateway_project.limits import ECHO_SECONDS
from pipeline.clocks import BELIEVED_SECONDS, SteadyWall
from routing.allowances import Limit
from tests.faults.whole import (
    HOOKS,
    KEY,
    PATIENCE,
    SERVERS,
    SURFACES,
    House,
    Rest,
    flows,
    owner,
    until,
    values,
)
from tests.support.fake_upstream import FakeUpstream
from tests.support.live_gateway import LiveGateway
from tests.support.services import RedisServer
from tests.support.surfaces import Pair, address, ask, checked, request_body
from tests.support.upstream.script import Answer, Stall, WaitFor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

every_server = pytest.mark.parametrize("server", SERVERS)
every_surface = pytest.mark.parametrize("pair", SURFACES, ids=str)
_ids = count(1)


@contextmanager
def house(fake: FakeUpstream, **more: str) -> Iterator[House]:
    with House(None, **values(fake, **more)) as running:
        yield running


# -- X1: told to end


@every_server
def test_x1_open_streams_end_whole_after_sigterm(server: str, fake_upstream: FakeUpstream) -> None:
    go_on = threading.Event()
    fake_upstream.script("", [Answer(events=6), WaitFor(go_on), Rest(6)])
    with house(fake_upstream, LLM_GATEWAY_SERVER=server) as gateway, flows(gateway, 40) as streams:
        os.kill(gateway.pid, signal.SIGTERM)
        # Readiness first, while the door is still open.
        until(lambda: gateway.ready() == (503, "draining"), "/ready says no")
        until(gateway.refuses, "the door is shut")
        assert not any(stream.whole for stream in streams)
        go_on.set()
        for stream in streams:
            stream.rest()
        assert [stream.whole for stream in streams] == [True] * 40
        assert gateway.wait() == 0


@every_server
def test_x1_a_second_sigterm_ends_streams_in_band_at_once(server: str, fake_upstream: FakeUpstream) -> None:
    fake_upstream.script("", [Answer(events=6), Stall()])
    with house(fake_upstream, LLM_GATEWAY_SERVER=server) as gateway, flows(gateway, 10) as streams:
        os.kill(gateway.pid, signal.SIGTERM)
        until(gateway.refuses, "the door is shut")
        time.sleep(2 * ECHO_SECONDS)
        os.kill(gateway.pid, signal.SIGTERM)
        for stream in streams:
            stream.rest()
            assert not stream.whole
            assert "restarting" in stream.error["message"]
        assert gateway.wait() == 0
        assert all(fake_upstream.wait_closed(request) for request in fake_upstream.requests)


# -- X2: a worker is killed


def test_x2_a_killed_worker_takes_only_its_own_streams(
    fake_upstream: FakeUpstream, fresh_redis: RedisServer
) -> None:
    go_on = threading.Event()
    fake_upstream.script("", [Answer(events=6), WaitFor(go_on), Rest(6)], times=16)
    more = {"LLM_GATEWAY_WORKERS": "2", "LLM_GATEWAY_REDIS_URL": fresh_redis.url}
    with house(fake_upstream, **more) as gateway, closing(redis.Redis(port=fresh_redis.port)) as store:
        until(lambda: len(gateway.workers()) == 2, "both workers listen")
        gateway.apply("limits: [{kind: concurrency, amount: 100}]")
        with flows(gateway, 16) as streams:
            by_worker = {stream: owner(gateway, stream) for stream in streams}
            dead = by_worker[streams[0]]
            lost = [stream for stream, worker in by_worker.items() if worker == dead]
            kept = [stream for stream, worker in by_worker.items() if worker != dead]
            assert kept, "the kernel gave all connections to one worker"
            before = _leases(store)
            assert len(before) == 16
            os.kill(dead, signal.SIGKILL)
            for stream in lost:
                stream.rest()
                assert not stream.whole
            # The parent starts another one, and the port never goes dead.
            until(lambda: len(gateway.workers()) == 2, "there are two workers again")
            assert dead not in [worker.pid for worker in gateway.workers()]
            # Whoever lives renews its places; those of the dead run out by themselves.
            until(lambda: len(_renewed(before, _leases(store))) == len(kept), "leases are renewed")
            server_time = store.time()
            now = server_time[0] * 1000 + server_time[1] / 1000
            stale = {name for name, ends in _leases(store).items() if ends == before.get(name)}
            assert len(stale) == len(lost)
            assert all(before[name] - now < 20_000 for name in stale)
            go_on.set()
            for stream in kept:
                stream.rest()
                assert stream.whole
        assert all(gateway.ask().status_code == 200 for _ in range(6))


def _leases(store: redis.Redis) -> dict[bytes, float]:
    """Who holds places, and until when in Redis's milliseconds."""
    found: dict[bytes, float] = {}
    for key in store.scan_iter("llmgw:*", _type="zset"):
        if b"replicas" not in key:
            pairs: Any = store.zrange(key, 0, -1, withscores=True)
            found |= dict(pairs)
    return found


def _renewed(before: dict[bytes, float], now: dict[bytes, float]) -> list[bytes]:
    return [name for name, ends in now.items() if ends > before.get(name, ends)]


# -- X3: memory


@every_surface
def test_x3_over_the_watermark_new_calls_are_refused_and_open_ones_go_on(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair
) -> None:
    go_on = threading.Event()
    fake_upstream.script("", [Answer(events=6), WaitFor(go_on), Rest(6)], times=1)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(ask(live, pair, stream=True).text))
    reader.start()
    fake_upstream.wait_for(1)
    live.memory = 0.93
    live.pressure.look(0.0)
    for stream in (False, True):
        refused = ask(live, pair, stream=stream)
        assert refused.status == (529 if pair.surface == "messages" else 503)
        assert refused.header("retry-after") == "1"
        assert refused.error()["type"] == (
            "overloaded_error" if pair.surface == "messages" else "server_error"
        )
    live.memory = 0.5
    live.pressure.look(0.0)
    go_on.set()
    reader.join(PATIENCE)
    assert got == [" ".join(f"word{number}" for number in range(1, 10))]
    assert ask(live, pair).status == 200
    assert live.registry.get_sample_value("gateway_pressure") == 0


def test_x3_at_the_hard_limit_workers_are_replaced_one_at_a_time(tmp_path: Path) -> None:
    """The parent alone, with workers that do nothing but take memory: how it goes about replacing them."""
    program = f"""
import os, pathlib, sys
from gateway_project import workers
from gateway_project.env import load
workers._GROWN_SECONDS = workers._SOUND_SECONDS = 0.4
workers._RELIEF_SECONDS = 0.05
environ = {{"LLM_GATEWAY_WORKERS": "2", "LLM_GATEWAY_MEMORY_MB": "64", "LLM_GATEWAY_SERVER_PORT": "0"}}
config = load(environ, pathlib.Path({str(tmp_path)!r}))
hungry = "import os, time; taken = bytearray(96 << 20); os.write(0, b's'); time.sleep(600)"
workers.Workers(config, [sys.executable, "-c", hungry], lambda text: print(text, flush=True)).run()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        gone: list[int] = []
        try:
            for line in parent.stdout:
                if "is replaced" not in line:
                    continue
                gone.append(int(line.split()[1]))
                # It stays until its successor serves, and nobody else goes meanwhile.
                assert len(psutil.Process(parent.pid).children()) >= 2
                if len(gone) == 4:
                    break
        finally:
            parent.send_signal(signal.SIGTERM)
    assert len(set(gone)) == 4


# -- X4: files


@every_server
def test_x4_without_file_descriptors_the_open_go_on_and_it_recovers(
    server: str, fake_upstream: FakeUpstream
) -> None:
    go_on = threading.Event()
    fake_upstream.script("", [Answer(events=6), WaitFor(go_on), Rest(6)], times=4)
    with house(fake_upstream, LLM_GATEWAY_SERVER=server) as gateway:
        assert gateway.ask(model="sandbox").status_code == 200
        with flows(gateway, 4) as streams:
            process = psutil.Process(gateway.pid)
            spare = next_file(gateway.pid) + 2
            usual = process.rlimit(resource.RLIMIT_NOFILE)
            process.rlimit(resource.RLIMIT_NOFILE, (spare, usual[1]))
            crowd = [socket.create_connection(("127.0.0.1", gateway.port), timeout=5) for _ in range(12)]
            # A second of standing at the door costs next to nothing of the processor.
            before = sum(process.cpu_times()[:2])
            time.sleep(1.0)
            assert sum(process.cpu_times()[:2]) - before < 0.5
            go_on.set()
            for stream in streams:
                stream.rest()
                assert stream.whole
            for each in crowd:
                each.close()
        # By itself, with the limit as it was.
        until(lambda: _answers(gateway), "it takes connections again")
        process.rlimit(resource.RLIMIT_NOFILE, usual)
        until(lambda: gateway.ask().status_code == 200, "calls go through again")
        assert gateway.end() == 0


def _answers(gateway: House) -> bool:
    try:
        return gateway.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@every_server
def test_x4_a_provider_that_cannot_be_connected_for_want_of_files_is_an_error_like_others(
    server: str, fake_upstream: FakeUpstream
) -> None:
    headers = {"x-api-key": KEY}
    with (
        house(fake_upstream, LLM_GATEWAY_SERVER=server) as gateway,
        httpx.Client(base_url=gateway.url, headers=headers, timeout=PATIENCE) as client,
    ):
        assert client.get("/v1/models").status_code == 200
        process = psutil.Process(gateway.pid)
        usual = process.rlimit(resource.RLIMIT_NOFILE)
        # Not even one that is closed meanwhile leaves room for another.
        process.rlimit(resource.RLIMIT_NOFILE, (3, usual[1]))
        for pair in SURFACES:
            for stream in (False, True):
                refused = client.post(address(pair.surface), json=request_body(pair, stream=stream))
                assert refused.status_code in (502, 503, 529)
                checked(pair.surface, refused.json())
        assert fake_upstream.requests == []
        process.rlimit(resource.RLIMIT_NOFILE, usual)
        until(lambda: gateway.ask().status_code == 200, "calls go through again")


def next_file(pid: int) -> int:
    """The number that the process's next file would have. With it as the limit, none can be opened."""
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in count() if number not in used)


# -- X5: the clock is set


@every_surface
@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_x5_a_clock_that_jumps_ends_no_key_frees_no_limit_and_sticks_no_breaker(
    live: LiveGateway, fake_upstream: FakeUpstream, pair: Pair, jump: float
) -> None:
    now = datetime.now(UTC)
    limit = Limit(next(_ids), "requests", 2, span=60, key_id=1)
    live.use(live.snapshot(key={"expires_at": now + timedelta(minutes=30), "limits": (limit,)}))
    assert ask(live, pair).status == 200
    live.jump = jump
    assert ask(live, pair).status == 200
    refused = ask(live, pair)
    assert refused.status == 429
    assert 0 < int(refused.header("retry-after") or 0) <= 62
    # One that had expired before stays so.
    live.use(live.snapshot(key={"expires_at": now - timedelta(minutes=30)}))
    assert ask(live, pair).status == 401


def test_x5_a_new_time_is_believed_when_it_has_stood() -> None:
    steady, jump = 0.0, 0.0
    wall = SteadyWall(lambda: 1_000_000 + steady + jump, lambda: steady)
    jump = 3600.0
    for steady in (0.0, 300.0, BELIEVED_SECONDS - 1):
        assert wall() == pytest.approx(1_000_000 + steady)
    jump = 0.0
    assert wall() == pytest.approx(1_000_000 + steady)
    jump, begun = -7200.0, steady
    for steady in (begun, begun + BELIEVED_SECONDS - 1):
        assert wall() == pytest.approx(1_000_000 + steady)
    steady = begun + BELIEVED_SECONDS
    assert wall() == pytest.approx(1_000_000 + steady - 7200)
    # Small corrections are taken at once.
    jump = -7199.0
    assert wall() == pytest.approx(1_000_000 + steady - 7199)


# -- X6: the event loop is blocked


def blocking(seconds: str, **more: str) -> dict[str, str]:
    return {"PYTHONPATH": str(HOOKS), "FAULT_BLOCK_SECONDS": seconds, **more}


@every_server
def test_x6_a_blocked_loop_is_counted_and_said_where(server: str, fake_upstream: FakeUpstream) -> None:
    with house(fake_upstream, LLM_GATEWAY_SERVER=server, **blocking("1.0")) as gateway:
        late = gateway.metric("gateway_loop_lag_seconds_sum")
        before = gateway.metric("gateway_loop_blocked_total")

        def told() -> bool:
            """A busy machine may have blocked it a moment ago, and twice in five seconds is told once."""
            os.kill(gateway.pid, signal.SIGUSR1)
            until(lambda: gateway.metric("gateway_loop_blocked_total") > before, "it is counted")
            lines = [line for line in gateway.output.splitlines() if "event loop blocked" in line]
            return any("_block" in line for line in lines)

        until(told, "it is said where")
        until(lambda: gateway.metric("gateway_loop_lag_seconds_sum") > late + 0.5, "the lag is measured")
        assert gateway.ask().status_code == 200
        assert gateway.get("/health").status_code == 200


def test_x6_a_worker_whose_loop_never_goes_on_is_replaced(fake_upstream: FakeUpstream) -> None:
    more = blocking("3600", FAULT_STUCK_LOOKS="10")
    with house(fake_upstream, LLM_GATEWAY_WORKERS="2", **more) as gateway:
        until(lambda: len(gateway.workers()) == 2, "both workers listen")
        stuck = gateway.workers()[0]
        stuck.send_signal(signal.SIGUSR1)
        until(lambda: not stuck.is_running() or stuck.status() == psutil.STATUS_ZOMBIE, "it has ended")
        until(lambda: len(gateway.workers()) == 2, "there are two workers again")
        assert "the event loop does not go on" in gateway.output
        assert f"ended with status {os.EX_SOFTWARE}" in gateway.output
        assert all(gateway.ask().status_code == 200 for _ in range(6))


# -- X8: nobody takes the log


def test_x8_a_log_that_nobody_reads_holds_up_no_request(fake_upstream: FakeUpstream) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    gateway = House(None, **values(fake_upstream))
    gateway.errors = writer
    try:
        with gateway:
            # Many times what the pipe holds.
            for number in range(60):
                assert gateway.ask(SURFACES[number % 2], stream=number % 3 == 0).status_code == 200
            assert gateway.end() == 0
    finally:
        os.close(writer)
        os.close(reader)


def test_x8_lines_for_a_full_disk_are_counted(fake_upstream: FakeUpstream) -> None:
    gateway = House(None, **values(fake_upstream))
    gateway.errors = os.open("/dev/full", os.O_WRONLY)
    try:
        with gateway:
            assert gateway.ask().status_code == 200
            until(lambda: gateway.metric("gateway_log_lines_lost_total") >= 1, "they are counted")
            assert gateway.ask(stream=True, key=KEY).status_code == 200
            assert gateway.end() == 0
    finally:
        os.close(gateway.errors)
