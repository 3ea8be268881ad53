"""A route's `late_fallback` on its way from the configuration document into the snapshot and back."""

from __future__ import annotations

import pytest

from accounts.apps import hasher
from providers.apps import vault
from routing.configfile import load_yaml, parse
from routing.configfile_apply import Means, apply
from routing.configfile_export import export
from routing.loader import build_snapshot
from tests.support.rows import make_provider

pytestmark = pytest.mark.django_db


def bring(text: str) -> None:
    means = Means(vault=vault(), hasher=hasher(), environ={})
    apply(parse(load_yaml(text)), means, author="test", reason="test")


@pytest.mark.parametrize("said", [True, False])
def test_a_route_says_whether_late_answers_are_asked_for_elsewhere(said: bool) -> None:
    make_provider("openai")
    word = str(said).lower()
    bring(f"routes: [{{pattern: a, late_fallback: {word}, targets: [{{provider: openai}}]}}]")
    assert export()["routes"][0]["late_fallback"] is said
    assert build_snapshot(vault()).routes[0].late_fallback is said


def test_a_route_that_says_nothing_asks_nobody_else() -> None:
    make_provider("openai")
    bring("routes: [{pattern: a, targets: [{provider: openai}]}]")
    assert not build_snapshot(vault()).routes[0].late_fallback
