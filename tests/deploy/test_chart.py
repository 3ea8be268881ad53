"""The Helm chart: its values fit its schema and its templates, and where Helm is installed it renders."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gateway_project.env_names import NAMES
from gateway_project.limits import DRAIN_SECONDS, LAST_SECONDS, NOTICE_SECONDS

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "llm-gateway"
TEMPLATES = {path.name: path.read_text() for path in sorted((CHART / "templates").iterdir())}
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
ALL_ON: dict[str, Any] = {
    "autoscaling": {"enabled": True},
    "grpc": {"enabled": True},
    "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls"},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}]},
    "config": "server: {}\n",
}


def paths(values: dict[str, Any], before: str = "") -> Iterator[str]:
    """Every value that has a name of its own; a map whose names are the user's is one."""
    for name, value in values.items():
        path = f"{before}{name}"
        if isinstance(value, dict) and value and path not in ("settings", "resources", "ingress.annotations"):
            yield from paths(value, path + ".")
        else:
            yield path


def used() -> set[str]:
    return {found for text in TEMPLATES.values() for found in re.findall(r"\.Values\.([A-Za-z0-9.]+)", text)}


def test_the_values_fit_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(VALUES, SCHEMA)
    jsonschema.validate({**VALUES, **ALL_ON}, SCHEMA)
    assert set(SCHEMA["properties"]) == {*VALUES, "global"}


@pytest.mark.parametrize(
    "wrong", [{"replicas": 0}, {"existingSecret": ""}, {"settings": {"a": "b"}}, {"imagePullPolicy": "x"}]
)
def test_a_typing_error_is_found(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**VALUES, **wrong}, SCHEMA)


def test_templates_use_every_value_and_no_other() -> None:
    assert used() == set(paths(VALUES))


def test_templates_set_what_the_gateway_reads() -> None:
    text = "\n".join([*TEMPLATES.values(), (CHART / "values.yaml").read_text()])
    set_here = set(re.findall(r"LLM_GATEWAY_([A-Z_]+)", text))
    assert set_here - set(NAMES) == set()


def test_a_pod_has_the_time_that_a_drain_takes() -> None:
    drain = DRAIN_SECONDS + LAST_SECONDS + NOTICE_SECONDS + VALUES["preStopSeconds"]
    assert VALUES["terminationGracePeriodSeconds"] > drain


def test_what_stands_in_the_chart_is_what_the_image_is() -> None:
    dockerfile = (CHART.parents[2] / "Dockerfile").read_text()
    assert "USER 10001:10001" in dockerfile
    assert "runAsUser: 10001" in TEMPLATES["_helpers.tpl"]


@pytest.mark.parametrize("values", [{}, ALL_ON], ids=["default", "all on"])
def test_helm_renders_it(values: dict[str, Any], tmp_path: Path) -> None:
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("no helm on this machine")
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    told = ""
    for command in (["lint", "--strict"], ["template", "prod"]):
        words = [helm, *command, str(CHART), "--values", str(tmp_path / "values.yaml")]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        told = done.stdout
    kinds = {document["kind"] for document in yaml.safe_load_all(told) if document}
    assert {"Deployment", "Service", "PodDisruptionBudget"} <= kinds
    assert ("HorizontalPodAutoscaler" in kinds) is bool(values)
