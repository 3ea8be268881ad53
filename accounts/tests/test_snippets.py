"""The lines to copy: they run as they stand."""

from __future__ import annotations

import ast
import json
import shlex

from accounts.snippets import snippets

FOUND = {s.title: s.text for s in snippets("gw-key", "https://gw.example", "gpt-4o-mini")}


def test_curl_is_one_command_with_a_json_body() -> None:
    words = shlex.split(FOUND["curl"].replace("\\\n", ""))
    assert words[:2] == ["curl", "https://gw.example/v1/chat/completions"]
    assert "Authorization: Bearer gw-key" in words
    assert json.loads(words[-1])["model"] == "gpt-4o-mini"


def test_python_is_python() -> None:
    for title, address in (("openai", "https://gw.example/v1"), ("anthropic", "https://gw.example")):
        text = FOUND[f"Python, {title}"]
        constants = [n.value for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Constant)]
        assert {address, "gw-key", "gpt-4o-mini"} <= set(constants)


def test_the_key_comes_first_and_alone() -> None:
    assert next(iter(FOUND.values())) == "gw-key"
