"""What a first start prints."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from gateway_project.beginnings import Outcome
from gateway_project.env import PREFIX, load
from gateway_project.sheet import address, first_sheet, later_line

MADE = Outcome(first=True, key="gw-the-first-key", password="made-up-word", model="sandbox")


def sheet(folder: Path, outcome: Outcome, **values: str) -> str:
    return first_sheet(load({PREFIX + name: value for name, value in values.items()}, folder), outcome)


def test_everything_that_is_needed_is_there(tmp_path: Path) -> None:
    text = sheet(tmp_path, MADE)
    for word in (
        "http://127.0.0.1:8080/admin/",
        "made-up-word",
        "gw-the-first-key",
        'base_url="http://127.0.0.1:8080/v1"',
        'base_url="http://127.0.0.1:8080"',
        "sandbox",
        "OPENAI_API_KEY",
    ):
        assert word in text


def test_the_curl_line_is_a_command(tmp_path: Path) -> None:
    text = sheet(tmp_path, MADE)
    command = text[text.index("  curl ") : text.index("openai SDK")].replace("\\\n", " ")
    words = shlex.split(command)
    assert words[1] == "http://127.0.0.1:8080/v1/chat/completions"
    assert json.loads(words[-1])["model"] == "sandbox"
    assert "Authorization: Bearer gw-the-first-key" in words


def test_the_python_lines_are_python(tmp_path: Path) -> None:
    text = sheet(tmp_path, MADE)
    for title, end in (("openai SDK", "anthropic SDK"), ("anthropic SDK", "\x00")):
        lines = (text + "\x00").split(title, 1)[1].split(end, 1)[0]
        compile("\n".join(line[2:] for line in lines.splitlines()), title, "exec")


def test_what_the_operator_chose_is_not_repeated(tmp_path: Path) -> None:
    text = sheet(
        tmp_path,
        Outcome(first=True, model="gpt-4o-mini"),
        BOOTSTRAP_KEY="my-own-chosen-key",
        ADMIN_PASSWORD="my-own-password",
    )
    assert "my-own" not in text
    assert "$LLM_GATEWAY_KEY" in text
    assert "sandbox" not in text


def test_of_a_password_that_opens_nothing_it_is_said(tmp_path: Path) -> None:
    names = {"ISSUER": "https://id.example.com", "CLIENT_ID": "gateway", "ROLES": "crew=owner"}
    values = {f"OIDC_{name}": text for name, text in names.items()} | {"PUBLIC_URL": "https://g.example.com"}
    assert "OIDC_ONLY" not in sheet(tmp_path, MADE, **values)
    text = sheet(tmp_path, MADE, OIDC_ONLY="true", **values)
    assert "made-up-word (opens nothing while LLM_GATEWAY_OIDC_ONLY is set)" in text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"SERVER_HOST": "0.0.0.0", "SERVER_PORT": "9"}, "http://127.0.0.1:9"),
        ({"SERVER_HOST": "::"}, "http://[::1]:8080"),
        ({"SERVER_HOST": "fd00::1"}, "http://[fd00::1]:8080"),
        ({"SERVER_HOST": "gateway.lan"}, "http://gateway.lan:8080"),
        ({"PUBLIC_URL": "https://gateway.example.com"}, "https://gateway.example.com"),
    ],
)
def test_the_address_is_one_that_can_be_called(tmp_path: Path, values: dict[str, str], expected: str) -> None:
    config = load({PREFIX + name: value for name, value in values.items()}, tmp_path)
    assert address(config) == expected
    assert expected in later_line(config)
