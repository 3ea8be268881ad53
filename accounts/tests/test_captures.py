"""Captures at rest: redacted, sealed, bounded, kept for their time and forgotten at once."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError
from django.utils import timezone
from prometheus_client import CollectorRegistry

from accounts.audit import AuditEntry
from accounts.capture import keep, writer
from accounts.capture.setting import Capturing, Taken
from accounts.capture.writer import CaptureWriter, stored
from accounts.models import Capture, Team
from providers.crypto import Vault, VaultError

VAULT = Vault([b"k" * 32])


def taken(body: Any = None, answer: bytes = b"{}", name: str = "req_1", **changes: Any) -> Taken:
    given: dict[str, Any] = {
        "request_id": name,
        "team_id": 1,
        "at": time.time(),
        "surface": "chat",
        "status": 200,
        "cached": False,
        "setting": Capturing("all", 100, 64 << 10),
        "body": body or {"prompt": "hello"},
        "answer": answer,
        "content_type": "application/json",
        "cut": False,
        "size": 100,
    }
    return Taken(**{**given, **changes})


def count(registry: CollectorRegistry, reason: str) -> float:
    return registry.get_sample_value("gateway_captures_dropped_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    "secret",
    [
        "gw-JdJaUPO8MN70Ko4iMul1jTiUCAJj8wRfkXrW2RC3D4xKVRJINwK0anPWU",
        "sk-ant-api03-abcdefghijklmnop",
        "gsk_abcdefghijklmnop",
        "AKIAABCDEFGHIJKLMNOP",
        "Bearer abcdefgh.ijklmnop",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc",
        "jane.doe@example.org",
        "müller@exämple.de",
        "4111 1111 1111 1111",
        "4111111111111111",
        "customer-991",
    ],
)
def test_what_is_secret_is_redacted_wherever_it_stands(secret: str) -> None:
    places = {
        "content": f"before {secret} after",
        "list": [{"deep": secret}],
        secret: "a key",
        "arguments": orjson.dumps({"x": secret}).decode(),
        "escaped": '{"x": "' + "".join(f"\\u{ord(each):04x}" for each in secret) + '"}',
    }
    stream = b"".join(
        b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": each}}]}) + b"\n\n"
        for each in secret
    )
    setting = Capturing("all", 100, 64 << 10, (r"customer-\d+",))
    text, cut = stored(taken(places, stream, setting=setting, content_type="text/event-stream"))
    assert secret not in text
    assert not cut
    assert "before" in text
    assert "after" in text


def test_numbers_that_are_no_cards_stay() -> None:
    text, _ = stored(
        taken({"a": "4111 1111 1111 1112", "b": "call 2024 4111111111111111", "n": 4111111111111111})
    )
    assert "4111 1111 1111 1112" in text
    assert "4111111111111111" not in text


def test_pictures_and_sound_are_told_by_kind_size_and_hash() -> None:
    data = "QUJD" * 200
    body = {
        "url": f"data:image/png;base64,{data}",
        "source": {"media_type": "image/jpeg", "data": data},
    }
    text, _ = stored(taken(body, b"\xff\xfb" * 50, content_type="audio/mpeg"))
    assert data not in text
    assert "[image/png, 600 bytes, sha256" in text
    assert "[image/jpeg, 600 bytes, sha256" in text
    assert "[audio/mpeg, 100 bytes, sha256" in text


def test_what_is_too_long_is_cut_and_no_half_of_a_secret_is_left() -> None:
    for before in range(40, 110):
        text, cut = stored(
            taken(
                {"p": "x " * (before // 2) + "sk-abcdefghijklmnopqrstuvwxyz"},
                setting=Capturing("all", 1, 100),
            )
        )
        assert "sk-" not in text
        assert cut or "[secret]" in text


def test_a_stream_is_put_together() -> None:
    deltas = [b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}' % each for each in (b"Hel", b"lo")]
    lines = b"\n\n".join([*deltas, b"data: [DONE]", b'data: {"cho'])
    said = orjson.loads(stored(taken(answer=lines, content_type="text/event-stream"))[0])["answer"]
    assert said == {"pieces": 2, "said": {"choices[0].delta.content": "Hello"}}


@pytest.mark.parametrize("patterns", [["(?=a)"], [r"(a)\1"], ["x*"], ["a" * 201], [""], [1], "a", ["a"] * 21])
def test_patterns_that_cannot_be_used_are_refused(patterns: Any) -> None:
    with pytest.raises(ValidationError):
        Team(name="crew", capture_patterns=patterns).full_clean(
            validate_unique=False, validate_constraints=False
        )


def test_a_pattern_that_runs_away_elsewhere_is_linear_here() -> None:
    text, _ = stored(
        taken({"p": "a b " + "a" * 50_000 + "b"}, setting=Capturing("all", 1, 64 << 10, ("(a|a)+$",)))
    )
    assert "aaa" in text


@pytest.mark.django_db
def test_what_is_written_is_sealed_for_its_row_alone() -> None:
    made = CaptureWriter(VAULT.seal, CollectorRegistry())
    made.put(taken({"prompt": "a canary"}, cached=True))
    assert made.write_some() == 1
    row = Capture.objects.get()
    assert "canary" not in row.sealed
    assert "canary" in VAULT.open(row.sealed, row.owner)
    assert row.cached
    for other in (1, "capture 2 req_1", "capture 1 req_2"):
        with pytest.raises(VaultError):
            VAULT.open(row.sealed, other)


def test_a_full_line_drops_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOST_BYTES", 250)
    registry = CollectorRegistry()
    made = CaptureWriter(VAULT.seal, registry)
    for number in range(4):
        made.put(taken(name=f"req_{number}"))
    assert count(registry, "full") == 2
    assert not made.room(100)
    assert made.room(50)


@pytest.mark.django_db
def test_while_the_database_is_away_they_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    made = CaptureWriter(VAULT.seal, registry)

    def away(*_: Any, **__: Any) -> None:
        raise DatabaseError

    with monkeypatch.context() as patch:
        patch.setattr(Capture.objects, "bulk_create", away)
        made.put(taken())
        with pytest.raises(DatabaseError):
            made.write_some()
    assert count(registry, "database") == 1
    made.put(taken(name="req_2"))
    made.write_some()
    assert Capture.objects.get().request_id == "req_2"


@pytest.mark.django_db
def test_an_outage_is_told_once_and_its_end_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = CaptureWriter(VAULT.seal, CollectorRegistry())
    monkeypatch.setattr(
        "accounts.capture.writer.connections.close_all", lambda: None
    )  # the test's own connection is among them

    def away(*_: Any, **__: Any) -> None:
        raise DatabaseError

    with monkeypatch.context() as patch:
        patch.setattr(Capture.objects, "bulk_create", away)
        for _ in range(3):
            made.put(taken())
            made._round()
            made._round()
    made.put(taken(name="req_2"))
    made._round()
    told = [record.getMessage() for record in caplog.records if record.name == "accounts.capture.writer"]
    assert told == ["captures cannot be written: DatabaseError", "captures can be written again"]


@pytest.mark.usefixtures("database")
def test_the_thread_writes_what_is_left_when_it_ends() -> None:
    made = CaptureWriter(VAULT.seal, CollectorRegistry(), interval=3600)
    team = Team.objects.create(name="crew")
    made.start()
    made.put(taken(team_id=team.pk))
    assert not Capture.objects.exists()
    made.stop(10)
    assert Capture.objects.get().request_id == "req_1"


@pytest.mark.django_db
def test_they_are_kept_as_long_as_the_team_says_and_no_longer_than_it() -> None:
    team = Team.objects.create(name="crew", capture_days=2)
    now = timezone.now()
    for name, owner, days in (("a", team.pk, 1), ("b", team.pk, 3), ("c", team.pk + 7, 0)):
        Capture.objects.create(
            request_id=name,
            team_id=owner,
            at=now - timedelta(days=days),
            surface="chat",
            status=200,
            sealed="x",
        )
    assert keep.prune() == 2
    assert Capture.objects.get().request_id == "a"


@pytest.mark.django_db
def test_what_is_forgotten_does_not_come_from_the_line_either() -> None:
    team = Team.objects.create(name="crew")
    made = CaptureWriter(VAULT.seal, CollectorRegistry())
    made.put(taken(team_id=team.pk))
    made.write_some()
    made.put(taken(team_id=team.pk, name="req_2"))
    assert keep.forget_team(team.pk) == 1
    made.put(taken(team_id=team.pk, name="req_3", at=time.time() + 5))
    made.write_some()
    assert [row.request_id for row in Capture.objects.all()] == ["req_3"]
    assert AuditEntry.objects.get(action="forgotten").object == "captures of team crew"
