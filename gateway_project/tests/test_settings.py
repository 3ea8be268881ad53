"""The settings as a process has them, in development and in production."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.throwaway import ROOT

SECRET = "a-master-secret-of-the-tests-0123456789"
SHOWN = (
    "DEBUG",
    "SESSION_COOKIE_SECURE",
    "CSRF_COOKIE_SECURE",
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_SAMESITE",
    "CSRF_TRUSTED_ORIGINS",
    "X_FRAME_OPTIONS",
    "SECURE_HSTS_SECONDS",
)
PROGRAM = f"""
import json, django
django.setup()
from django.conf import settings
print(json.dumps({{name: getattr(settings, name) for name in {SHOWN!r}}}))
"""


def run(folder: Path, *command: str, **values: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LLM_GATEWAY_")}
    environ |= {f"LLM_GATEWAY_{name}": value for name, value in values.items()}
    environ |= {"LLM_GATEWAY_DATA_DIR": str(folder), "DJANGO_SETTINGS_MODULE": "gateway_project.settings"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )


def shown(folder: Path, **values: str) -> dict[str, Any]:
    done = run(folder, "-c", PROGRAM, **values)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_production_is_closed_by_default(tmp_path: Path) -> None:
    found = shown(tmp_path, ENVIRONMENT="production", SECRET_KEY=SECRET)
    assert found == {
        "DEBUG": False,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Strict",
        "CSRF_TRUSTED_ORIGINS": [],
        "X_FRAME_OPTIONS": "DENY",
        "SECURE_HSTS_SECONDS": 31536000,
    }


def test_development_works_over_plain_http(tmp_path: Path) -> None:
    found = shown(tmp_path)
    assert (found["DEBUG"], found["SESSION_COOKIE_SECURE"]) == (False, False)


def test_a_public_address_is_trusted_for_forms(tmp_path: Path) -> None:
    url = "https://gateway.example.com"
    found = shown(tmp_path, ENVIRONMENT="production", SECRET_KEY=SECRET, PUBLIC_URL=url)
    assert (found["CSRF_TRUSTED_ORIGINS"], found["SESSION_COOKIE_SECURE"]) == ([url], True)


def test_a_public_address_over_plain_http_is_taken_at_its_word(tmp_path: Path) -> None:
    found = shown(tmp_path, ENVIRONMENT="production", SECRET_KEY=SECRET, PUBLIC_URL="http://10.0.0.5:8080")
    assert found["SESSION_COOKIE_SECURE"] is False


def test_production_passes_djangos_own_check(tmp_path: Path) -> None:
    done = run(
        tmp_path, "manage.py", "check", "--deploy", "--fail-level", "WARNING",
        ENVIRONMENT="production", SECRET_KEY=SECRET,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ENVIRONMENT": "production"}, "LLM_GATEWAY_SECRET_KEY"),
        ({"SERVER_PORT": "x"}, "LLM_GATEWAY_SERVER_PORT"),
        ({"SERVER_PROT": "1"}, "LLM_GATEWAY_SERVER_PORT?"),
    ],
)
def test_a_wrong_configuration_stops_the_start_in_plain_words(
    tmp_path: Path, values: dict[str, str], words: str
) -> None:
    done = run(tmp_path, "manage.py", "check", **values)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
