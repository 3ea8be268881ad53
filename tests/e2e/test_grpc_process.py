"""`manage.py grpcserver` as a process beside `serve`: TLS, the ledger, revocation, status, and its drain."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from accounts.keys import display_prefix
from accounts.ledger.rows import RequestEntry
from grpcapi.generated.llmgateway.v1 import gateway_pb2 as pb
from grpcapi.generated.llmgateway.v1 import gateway_pb2_grpc as services
from tests.e2e.test_processes import KEY, settings, wait
from tests.faults.whole import Rest
from tests.support.fake_upstream import FakeUpstream
from tests.support.served import Served
from tests.support.surfaces import TEXT
from tests.support.tls import server_context
from tests.support.upstream.script import Answer, WaitFor

_ROOT = Path(__file__).resolve().parents[2]
_MESSAGES = [pb.Message(role=pb.ROLE_USER, text="count:9")]
ASKED = pb.ChatParameters(model="gpt-4o", messages=_MESSAGES)


@contextmanager
def grpc_server(gateway: Served, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process and its port."""
    log = gateway.folder / "grpc-log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "grpcserver"],
            cwd=_ROOT,
            env={**gateway.environ, "LLM_GATEWAY_GRPC_PORT": "0", **more},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait(lambda: "gRPC on" in log.read_text() or process.poll() is not None, seconds=60)
        found = re.search(r"gRPC on 127\.0\.0\.1:(\d+)", log.read_text())
        assert found, log.read_text()
        yield process, int(found[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.timeout(180)
def test_it_serves_over_tls_beside_http_and_drains(fake_upstream: FakeUpstream, tmp_path: Path) -> None:
    _, certificate = server_context(tmp_path)
    status = free_port()
    more = {
        "LLM_GATEWAY_GRPC_TLS_CERTIFICATE": str(certificate),
        "LLM_GATEWAY_GRPC_TLS_KEY": str(tmp_path / "key.pem"),
        "LLM_GATEWAY_GRPC_STATUS_PORT": str(status),
    }
    secure = grpc.ssl_channel_credentials(certificate.read_bytes())
    values = settings(fake_upstream)
    with (
        Served(None, **values) as gateway,
        grpc_server(gateway, **more) as (process, port),
        closing(grpc.secure_channel(f"127.0.0.1:{port}", secure)) as channel,
        closing(grpc.secure_channel(f"127.0.0.1:{port}", secure, options=[("grpc.x", 1)])) as other,
    ):
        chat = services.ChatServiceStub(channel)  # type: ignore[no-untyped-call]  # generated code
        health = health_pb2_grpc.HealthStub(other)
        wait(lambda: _serves(health))
        second = gateway.manage("keys", "issue", "--team", "crew").strip()
        metadata = [("authorization", f"Bearer {KEY}")]

        def ask(key: str) -> grpc.StatusCode:
            try:
                request = pb.CreateChatCompletionRequest(parameters=ASKED)
                chat.CreateChatCompletion(request, metadata=[("x-api-key", key)], timeout=60)
            except grpc.RpcError as error:
                code: grpc.StatusCode = error.code()
                return code
            return grpc.StatusCode.OK

        assert ask(KEY) is grpc.StatusCode.OK
        # What another process changes is in force here.
        wait(lambda: ask(second) is grpc.StatusCode.OK)
        gateway.manage("keys", "revoke", display_prefix(second))
        wait(lambda: ask(second) is grpc.StatusCode.UNAUTHENTICATED)

        base = f"http://127.0.0.1:{status}"
        assert httpx.get(base + "/ready").status_code == 200
        assert 'surface="chat"' in httpx.get(base + "/metrics").text
        assert httpx.get(base + "/v1/models", headers={"x-api-key": KEY}).status_code == 404
        assert httpx.get(base + "/admin/").status_code == 404

        # -- the drain
        go_on = threading.Event()
        fake_upstream.script("", [Answer(events=6), WaitFor(go_on), Rest(6)], times=1)
        stream = chat.StreamChatCompletion(
            pb.StreamChatCompletionRequest(parameters=ASKED), metadata=metadata, timeout=60
        )
        next(stream)
        process.send_signal(signal.SIGTERM)
        wait(lambda: not _serves(health))
        wait(lambda: ask(KEY) is grpc.StatusCode.UNAVAILABLE)
        assert process.poll() is None
        go_on.set()
        assert list(stream)
        assert process.wait(60) == 0
        rows = _rows(gateway.folder / "gateway.sqlite3")
        assert rows["settled"] >= 3, "each call is in the ledger"


def _serves(health: health_pb2_grpc.HealthStub) -> bool:
    try:
        told = health.Check(health_pb2.HealthCheckRequest(), timeout=10)
    except grpc.RpcError:
        return False
    return bool(told.status == health_pb2.HealthCheckResponse.SERVING)


def _rows(database: Path) -> dict[str, int]:
    end = time.monotonic() + 30
    while True:
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute(
                f"select state, count(*) from {RequestEntry._meta.db_table} group by state"
            ).fetchall()
        found = dict(rows)
        if found.get("settled", 0) >= 3 or time.monotonic() > end:
            return found
        time.sleep(0.1)


@pytest.mark.timeout(120)
def test_a_second_signal_ends_it_at_once_and_a_port_in_use_is_told(fake_upstream: FakeUpstream) -> None:
    go_on = threading.Event()
    with Served(None, **settings(fake_upstream)) as gateway:
        with (
            grpc_server(gateway) as (process, port),
            closing(grpc.insecure_channel(f"127.0.0.1:{port}")) as channel,
        ):
            refused = subprocess.run(
                [sys.executable, "manage.py", "grpcserver"],
                cwd=_ROOT,
                env={**gateway.environ, "LLM_GATEWAY_GRPC_PORT": str(port)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert refused.returncode == 1
            assert f"127.0.0.1:{port} cannot be listened on" in refused.stderr
            assert "Traceback" not in refused.stderr
            example = subprocess.run(
                [sys.executable, "docs/grpc_client.py", f"127.0.0.1:{port}", KEY, "gpt-4o", "count:9"],
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
            assert example.stdout.startswith(TEXT + "\n")
            assert "tokens" in example.stdout
            fake_upstream.script("", [Answer(events=4), WaitFor(go_on)], times=1)
            chat = services.ChatServiceStub(channel)  # type: ignore[no-untyped-call]  # generated code
            stream = chat.StreamChatCompletion(
                pb.StreamChatCompletionRequest(parameters=ASKED), metadata=[("x-api-key", KEY)], timeout=60
            )
            next(stream)
            os.kill(process.pid, signal.SIGTERM)
            time.sleep(0.6)  # sooner, the second would be taken for an echo of the first
            os.kill(process.pid, signal.SIGTERM)
            with pytest.raises(grpc.RpcError) as caught:
                list(stream)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert process.wait(60) == 0
        go_on.set()
