"""The shipped config.yaml: it says nothing as it is, and its examples work when their # is taken away."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accounts.apps import hasher
from providers.apps import vault
from routing.configfile import load_yaml, parse
from routing.configfile_apply import Means, apply
from routing.loader import build_snapshot
from routing.plan import match

pytestmark = pytest.mark.django_db

TEXT = (Path(__file__).resolve().parents[2] / "config.yaml").read_text(encoding="utf-8")
ENVIRON = {
    name: f"made-up-{name.lower()}-0123456789"
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "RESEARCH_KEY")
}


def uncommented() -> str:
    """The examples are the lines that begin with `#  `; each section's empty value makes room for them."""
    text = re.sub(r"^#(?=  )", "", TEXT[TEXT.index("\nserver:") :], flags=re.MULTILINE)
    return re.sub(r"^(\w+): (\{\}|\[\])", r"\1:", text, flags=re.MULTILINE)


def test_as_shipped_it_changes_nothing() -> None:
    means = Means(vault=vault(), hasher=hasher(), environ={})
    assert apply(parse(load_yaml(TEXT)), means, author="a", reason="b").changes == []


def test_all_its_examples_together_apply() -> None:
    means = Means(vault=vault(), hasher=hasher(), environ=ENVIRON)
    document = parse(load_yaml(uncommented()))
    assert set(document.providers) == {"openai", "anthropic", "ollama", "groq", "vllm"}
    outcome = apply(document, means, author="a", reason="b")
    assert outcome.notes == []
    snapshot = build_snapshot(vault())
    (key,) = snapshot.keys.values()
    route = match(snapshot, "fast", key.team.id)
    assert route is not None
    assert [(t.provider.name, t.tier, t.weight) for t in route.targets] == [
        ("groq", 0, 3),
        ("vllm", 0, 1),
        ("openai", 1, 1),
    ]
    assert snapshot.catalogue["openai_compatible", "llama-3.3-70b"].price.input == 0.2
    assert match(snapshot, "anything else", None) is not None
