"""What routes say of like questions: in the tables, the configuration file and the snapshot; and the table of
hits."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.apps import hasher
from pipeline.semantic.hits import MAX_KEPT, Hits
from providers.apps import vault
from routing.configfile import ConfigError, parse
from routing.configfile_apply import Means, apply
from routing.configfile_export import export
from routing.loader import build_snapshot
from routing.models import Route
from routing.models_semantic import SemanticEvent
from routing.semantic import Semantic
from routing.semantic_hits import Event
from routing.semantic_table import SemanticTable
from routing.writer import KEEP
from tests.support.rows import make_provider, make_route

pytestmark = pytest.mark.django_db

SAID = {
    "mode": "shadow",
    "threshold": 0.9,
    "embedder": "text-embedding-3-small",
    "guard": "marks",
    "context": "first",
    "seconds": 0.5,
    "prompts": True,
}


def document(semantic: dict[str, Any], cache: str = "exact") -> Any:
    route = {
        "pattern": "gpt-*",
        "targets": [{"provider": "openai"}],
        "cache": {"mode": cache},
        "semantic": semantic,
    }
    return parse({"routes": [route]})


def applied(semantic: dict[str, Any], cache: str = "exact") -> None:
    apply(document(semantic, cache), Means(vault(), hasher(), {}), author="test", reason="test")


def test_the_file_sets_what_the_export_says() -> None:
    make_provider("openai")
    applied(SAID)
    (route,) = export()["routes"]
    assert route["semantic"] == SAID
    applied({"mode": "off"})
    (route,) = export()["routes"]
    assert route["semantic"] == {**SAID, "mode": "off"}


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"mode": "maybe"}, "semantic.mode"),
        ({"threshold": 0.2}, "semantic.threshold"),
        ({"threshold": 1.1}, "semantic.threshold"),
        ({"seconds": 0}, "semantic.seconds"),
        ({"guard": "none"}, "semantic.guard"),
        ({"context": "all"}, "semantic.context"),
        ({"embedder": ""}, "semantic.embedder"),
        ({"shadow": True}, "semantic"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_path(wrong: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError, match=path.replace(".", r"\.")):
        document(wrong)


def test_like_questions_need_the_cache() -> None:
    make_provider("openai")
    with pytest.raises(ConfigError, match="turn that on too"):
        applied({"mode": "on"}, cache="off")
    route = make_route("gpt-*", make_provider("other", kind="openai"))
    route.semantic = "on"
    with pytest.raises(ValidationError, match="turn that on too"):
        route.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        Route.objects.filter(pk=route.pk).update(semantic="on")


def test_the_snapshot_has_what_the_row_says() -> None:
    make_provider("openai")
    applied(SAID)
    (route,) = build_snapshot(vault()).routes
    assert route.semantic == Semantic(**SAID)  # type: ignore[arg-type]  # a plain dictionary
    applied({"mode": "off"})
    (route,) = build_snapshot(vault()).routes
    assert route.semantic is None


# --- The table of hits


def event(**fields: Any) -> Event:
    plain = Event(
        kind="hit",
        at=datetime.now(UTC),
        request_id="req_1",
        team=1,
        route=2,
        model="gpt-4o",
        embedder="local",
        entry="ab" * 32,
        question="cd" * 32,
        similarity=0.93,
        threshold=0.85,
    )
    return replace(plain, **fields)


def test_events_are_written_and_forgotten() -> None:
    table = SemanticTable()
    today = datetime.now(UTC)
    table.add([event(), event(kind="shadow", at=today - KEEP - timedelta(days=1))])
    assert [row.kind for row in SemanticEvent.objects.all()] == ["hit", "shadow"]
    table.forget((today - KEEP).date())
    (row,) = SemanticEvent.objects.all()
    assert (row.kind, row.similarity, row.prompt, row.entry) == ("hit", 0.93, "", "ab" * 32)


def test_hits_are_bounded_while_nobody_takes_them() -> None:
    hits = Hits()
    for number in range(MAX_KEPT + 10):
        hits.note(event(request_id=str(number)))
    taken = hits.take()
    assert len(taken) == MAX_KEPT
    hits.note(event(request_id="new"))
    hits.give_back(taken)
    assert len(hits.take()) == MAX_KEPT
    assert hits.take() == []
