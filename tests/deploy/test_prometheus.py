"""The alert rules and the board in a real Prometheus that scrapes a real gateway: all load, all are answered,
and each metric that they name is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.collector import Collector
from tests.support.served import Served
from tests.support.services import free_port

_ROOT = Path(__file__).resolve().parents[2]
_DEPLOY = _ROOT / "deploy" / "prometheus"
_FETCHED = _ROOT / ".tools" / "usr" / "bin"
_BOARD = json.loads((_ROOT / "deploy/grafana/dashboards/gateway.json").read_text())
_NAME = re.compile(r"\bgateway_[a-z_]+\b")
_SUFFIX = re.compile(r"_(bucket|sum|count)\Z")

pytestmark = pytest.mark.timeout(240)


def program(name: str) -> str:
    """Where it is. The test is skipped, loudly, where it is not."""
    path = shutil.which(name) or shutil.which(name, path=str(_FETCHED))
    if path is None:
        pytest.skip(f"no {name}: scripts/prometheus.sh fetches one")
    return path


def check(what: str, path: Path) -> None:
    words = [program("promtool"), "check", what, str(path)]
    checked = subprocess.run(words, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_rules_and_configuration_are_what_prometheus_takes(tmp_path: Path) -> None:
    check("rules", _DEPLOY / "alerts.yml")
    # Its rules are at another place outside of the container.
    config = yaml.safe_load((_DEPLOY / "prometheus.yml").read_text())
    assert config["rule_files"] == ["/etc/prometheus/alerts.yml"]
    config["rule_files"] = [str(_DEPLOY / "alerts.yml")]
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    check("config", path)


class Prometheus:
    """A server that scrapes a gateway every second."""

    def __init__(self, url: str, gateway: Served) -> None:
        self._url = url
        self.gateway = gateway

    def ask(self, address: str, **query: str) -> Any:
        """What it says; a refusal fails the test."""
        reply = httpx.get(f"{self._url}/api/v1/{address}", params=query)
        assert reply.status_code == 200, (query, reply.text)
        return reply.json()["data"]

    def until(self, query: str) -> Any:
        """The answer to a query once there is one."""
        end = time.monotonic() + 60
        while not (found := self.ask("query", query=query)["result"]):
            assert time.monotonic() < end, query
            time.sleep(0.2)
        return found


def call(gateway: Served, key: str) -> None:
    """A call, once the key is in force, and a stream."""
    end = time.monotonic() + 30
    for stream in (False, True):
        body = {"model": "sandbox", "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
        head = {"authorization": f"Bearer {key}"}
        while httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=head).status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    path, port = program("prometheus"), free_port()
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((_DEPLOY / "prometheus.yml").read_text())
    config["rule_files"] = [str(_DEPLOY / "alerts.yml")]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    # With traces, so that their metrics are there too.
    collector = Collector()
    with ExitStack() as open_things, Served(None, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as gateway:
        open_things.callback(collector.stop)
        config["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{gateway.port}"]}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        key = gateway.manage("keys", "issue", "--team", "crew").strip().splitlines()[-1]
        words = [
            path,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(words, stdout=log, stderr=log, env={**os.environ, "HOME": str(folder)})
        try:
            served = Prometheus(f"http://127.0.0.1:{port}", gateway)
            end = time.monotonic() + 60
            while True:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end
                try:
                    if httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
            call(gateway, key)
            yield served
        finally:
            process.terminate()
            process.wait(30)


def expressions() -> list[str]:
    """What the board asks, with its variables as they are at first."""
    found = [target["expr"] for panel in _BOARD["panels"] for target in panel.get("targets", [])]
    for name, value in (
        ("$__rate_interval", "1m"),
        ("$surface", ".*"),
        ("$route", ".*"),
        ("$provider", ".*"),
    ):
        found = [each.replace(name, value) for each in found]
    return found


def rules() -> list[str]:
    document = yaml.safe_load((_DEPLOY / "alerts.yml").read_text())
    return [rule["expr"] for group in document["groups"] for rule in group["rules"]]


def test_every_rule_is_evaluated_and_none_fires_at_a_gateway_that_is_well(prometheus: Prometheus) -> None:
    assert prometheus.until('up{job="llm-gateway"} == 1')
    end = time.monotonic() + 60
    while True:
        (group,) = prometheus.ask("rules")["groups"]
        states = {
            rule["name"]: (rule["health"], rule["state"], rule.get("lastError", ""))
            for rule in group["rules"]
        }
        if all(health != "unknown" for health, _, _ in states.values()):
            break
        assert time.monotonic() < end, states
        time.sleep(0.2)
    assert len(states) == len(rules())
    assert set(states.values()) == {("ok", "inactive", "")}, states


def test_every_expression_is_answered_and_names_what_there_is(prometheus: Prometheus) -> None:
    prometheus.until('gateway_requests_total{surface="chat"}')
    known = set(prometheus.ask("metadata"))
    for expression in [*expressions(), *rules()]:
        prometheus.ask("query", query=expression)
        for name in _NAME.findall(expression):
            assert {name, _SUFFIX.sub("", name), name.removesuffix("_total")} & known, (name, expression)


def test_a_gateway_that_is_gone_is_about_to_wake_somebody(prometheus: Prometheus) -> None:
    """The last one: there is no gateway after it."""
    prometheus.gateway.end()
    prometheus.until('ALERTS{alertname="GatewayDown", alertstate="pending"}')
