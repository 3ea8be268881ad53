"""The compose file: what it mounts is there, what it names is known, and its parts find each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from gateway_project.env import PREFIX
from gateway_project.env_names import NAMES

_ROOT = Path(__file__).resolve().parents[2]
_FILE = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = _FILE["services"]
WATCHERS = ("prometheus", "grafana", "jaeger")
# Where each service listens within its network.
PORTS = {
    "gateway": 8080,
    "postgres": 5432,
    "redis": 6379,
    "ollama": 11434,
    "prometheus": 9090,
    "jaeger": 16686,
}
_PROVISIONING = _ROOT / "deploy/grafana/provisioning"


def mounts(service: str) -> list[tuple[str, str]]:
    """What a service mounts: from where, to where."""
    said = [each.split(":") for each in SERVICES[service].get("volumes", [])]
    return [(each[0], each[1]) for each in said]


def inside(service: str, path: str) -> Path:
    """The file of this repository that a service sees there."""
    for source, target in mounts(service):
        if path.startswith(target):
            return _ROOT / source / path.removeprefix(target).lstrip("/")
    raise AssertionError(f"{service} has nothing mounted at {path}")


def is_there(url: str) -> None:
    """An address within the network is that of a service which listens there."""
    parts = urlsplit(url)
    assert parts.hostname in PORTS, url
    assert parts.port == PORTS[parts.hostname], url


@pytest.mark.parametrize("service", SERVICES)
def test_mounts_are_in_the_repository_or_named_volumes(service: str) -> None:
    for source, _ in mounts(service):
        assert (_ROOT / source).exists() if source.startswith(".") else source in _FILE["volumes"]


def test_volumes_are_used() -> None:
    used = {source for service in SERVICES for source, _ in mounts(service)}
    assert set(_FILE["volumes"]) <= used


@pytest.mark.parametrize("service", ["gateway", "grpc"])
def test_the_gateways_variables_are_settings(service: str) -> None:
    names = SERVICES[service]["environment"]
    assert [name for name in names if name.removeprefix(PREFIX) not in NAMES] == []


def test_the_gateway_finds_what_it_uses() -> None:
    environment = SERVICES["gateway"]["environment"]
    for name in ("DATABASE_URL", "REDIS_URL", "PROVIDERS_OLLAMA_BASE_URL"):
        is_there(re.sub(r"\$\{[^}]*\}", "secret", environment[PREFIX + name]))


def test_what_is_asked_of_the_environment_is_in_the_example() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (_ROOT / "docker-compose.yml").read_text()))
    example = (_ROOT / ".env.example").read_text()
    assert sorted(name for name in asked if not re.search(rf"^#?{name}=", example, re.MULTILINE)) == []


@pytest.mark.parametrize("service", SERVICES)
def test_only_loopback_is_published_and_every_image_has_a_version(service: str) -> None:
    ports = SERVICES[service].get("ports", [])
    assert all(port.startswith("${BIND_ADDRESS:-127.0.0.1}:") for port in ports)
    image = SERVICES[service]["image"]
    assert "build" in SERVICES[service] or (":" in image and not image.endswith(":latest"))


def test_what_watches_comes_with_its_profile_and_nothing_else_needs_it() -> None:
    assert {name for name, each in SERVICES.items() if each.get("profiles") == ["observability"]} == set(
        WATCHERS
    )
    for name, each in SERVICES.items():
        if name not in WATCHERS:
            assert not set(each.get("depends_on", {})) & set(WATCHERS)


def test_prometheus_has_its_rules_and_asks_the_gateway() -> None:
    found = yaml.safe_load(inside("prometheus", "/etc/prometheus/prometheus.yml").read_text())
    for rules in found["rule_files"]:
        assert yaml.safe_load(inside("prometheus", rules).read_text())["groups"]
    targets = [
        each for job in found["scrape_configs"] for of in job["static_configs"] for each in of["targets"]
    ]
    assert targets
    for each in targets:
        is_there(f"http://{each}")


def test_grafana_has_its_sources_and_its_board() -> None:
    provisioning = inside("grafana", "/etc/grafana/provisioning")
    assert provisioning == _PROVISIONING
    sources = [
        source
        for path in (provisioning / "datasources").glob("*.yml")
        for source in yaml.safe_load(path.read_text())["datasources"]
    ]
    for source in sources:
        is_there(source["url"])
    assert {source["type"] for source in sources} == {"prometheus", "jaeger"}
    (boards,) = yaml.safe_load((provisioning / "dashboards/gateway.yml").read_text())["providers"]
    assert list(inside("grafana", boards["options"]["path"]).glob("*.json"))
    home = inside("grafana", SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    asked = {found["uid"] for found in _sources(json.loads(home.read_text()))}
    assert asked <= {source["uid"] for source in sources}
    assert asked


def _sources(part: Any) -> list[dict[str, Any]]:
    """The sources of data that a board asks, but for Grafana's own."""
    if isinstance(part, list):
        return [found for each in part for found in _sources(each)]
    if not isinstance(part, dict):
        return []
    own = part.get("datasource")
    here = [own] if isinstance(own, dict) and own.get("uid") not in (None, "-- Grafana --") else []
    return here + [found for each in part.values() for found in _sources(each)]


def test_traces_go_where_jaeger_receives_them() -> None:
    assert SERVICES["jaeger"]["environment"]["JAEGER_LISTEN_HOST"] == "0.0.0.0"
    assert "http://jaeger:4318" in (_ROOT / ".env.example").read_text()
