"""docs/providers.md: its commands and its file do what it says."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pytest
from django.core.management import call_command

from accounts.apps import hasher
from providers.apps import vault
from providers.models import Provider
from providers.presets import PLACEHOLDER
from routing.configfile import load_yaml, parse
from routing.configfile_apply import Means, apply
from routing.loader import build_snapshot

pytestmark = pytest.mark.django_db

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")
KEY = "made-up-0123456789abcdef"
COMMANDS = [
    line.replace(PLACEHOLDER, "crew")
    for line in re.findall(r"^ {4,}((?:\w+=\S+ )?manage\.py providers add .*)$", TEXT, re.MULTILINE)
]
EXAMPLES = re.findall(r"^ *```yaml\n(.*?)^ *```", TEXT, re.MULTILINE | re.DOTALL)


def test_the_guide_has_examples() -> None:
    assert len(COMMANDS) == 4
    assert len(EXAMPLES) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_works_as_written(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GROQ_API_KEY", "ACME_KEY", "AZURE_OPENAI_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    words = shlex.split(command)
    call_command(*words[words.index("manage.py") + 1 :], stdout=io.StringIO(), stderr=io.StringIO())
    snapshot = build_snapshot(vault())
    assert Provider.objects.count() == 1
    assert {t.provider.name for r in snapshot.routes for t in r.targets} == set(snapshot.providers)


def test_the_file_works_as_written() -> None:
    means = Means(vault=vault(), hasher=hasher(), environ={"GROQ_API_KEY": KEY})
    apply(parse(load_yaml(EXAMPLES[0])), means, author="a", reason="b")
    snapshot = build_snapshot(vault())
    assert [c.secret for c in snapshot.providers["groq"].credentials] == [KEY]
    assert [r.pattern for r in snapshot.routes] == ["llama-*", "fast"]
