"""Rows to a snapshot: each kind of row that cannot be used is left out, said so, and takes no other along."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import ApiKey, Budget, Limit, Team
from providers.apps import vault
from providers.crypto import Vault
from providers.kinds import KINDS
from providers.models import CatalogueModel, Credential, Provider
from providers.wire import Timeouts
from routing import tables
from routing.loader import build_snapshot
from routing.models import CachePurge, Measure, Route, Target
from routing.revisions import publish
from routing.snapshot import Price, Snapshot
from tests.support.rows import SECRET, make_credential, make_key, make_provider, make_route


def build() -> Snapshot:
    return build_snapshot(vault())


def corrupt(row: Any, column: str, value: Any) -> None:
    """Write what no form lets through, as another program might. SQLite takes anything anywhere."""
    table = row._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")
        cursor.execute(
            f'UPDATE "{table}" SET "{column}" = %s WHERE "{row._meta.pk.column}" = %s', [value, row.pk]
        )
        cursor.execute("PRAGMA ignore_check_constraints = OFF")


@pytest.mark.usefixtures("database")
def test_everything_that_steers_is_in_the_snapshot() -> None:
    provider = make_provider(
        "openai", base_url="https://proxy.example/v1", connect_timeout=1, idle_timeout=2.5, total_timeout=30
    )
    make_credential(provider, "sk-second-0123456789", label="second")
    make_credential(provider, "sk-off-0123456789abc", label="off", enabled=False)
    target = {
        "provider": provider,
        "upstream_model": "gpt-4o",
        "weight": 3,
        "tier": 1,
        "body_patch": {"top_k": None},
    }
    route = make_route("gpt-*", target, priority=5, losses="strict", team=Team.objects.create(name="crew"))
    expires = timezone.now() + timedelta(days=1)
    key = make_key(allowed_models=["gpt-*", "o1"], label="ci", expires_at=expires)
    CatalogueModel.objects.create(
        kind="openai",
        name="gpt-4o",
        context_window=128000,
        capabilities=["tools"],
        input_price=Decimal("2.5"),
    )
    number = publish("somebody", "a change")

    snapshot = build()
    assert snapshot.revision == number
    (built,) = snapshot.routes
    assert (built.id, built.pattern, built.priority, built.team_id) == (route.pk, "gpt-*", 5, route.team_id)
    assert built.losses == "strict"
    (aim,) = built.targets
    assert (aim.upstream_model, aim.weight, aim.tier, aim.body_patch) == ("gpt-4o", 3, 1, {"top_k": None})
    assert aim.provider is snapshot.providers["openai"]
    assert aim.provider.kind is KINDS["openai"]
    assert aim.provider.base_url == "https://proxy.example/v1"
    assert aim.provider.timeouts == Timeouts(connect=1, idle=2.5, total=30)
    assert [(c.label, c.secret) for c in aim.provider.credentials] == [
        ("default", SECRET),
        ("second", "sk-second-0123456789"),
    ]
    (entry,) = snapshot.keys.values()
    assert entry.digest.hex() == key.row.digest
    assert (entry.team.name, entry.label, entry.allowed_models) == ("crew", "ci", ("gpt-*", "o1"))
    assert entry.expires_at == expires
    model = snapshot.catalogue["openai", "gpt-4o"]
    assert (model.facts.context_window, model.price) == (128000, Price(input=2.5))
    assert model.facts.capabilities == {"tools"}


@pytest.mark.django_db
def test_what_is_off_or_revoked_is_left_out_and_what_a_plan_must_explain_is_kept() -> None:
    off = make_provider("anthropic", enabled=False)
    make_route("off", off, enabled=False)
    route = make_route("on", off, {"provider": off, "enabled": False})
    make_key(revoked_at=timezone.now())
    expired = make_key(expires_at=timezone.now() - timedelta(days=1))
    snapshot = build()
    assert [r.pattern for r in snapshot.routes] == ["on"]
    assert [t.enabled for t in snapshot.routes[0].targets] == [True, False]
    assert not snapshot.providers["anthropic"].enabled
    assert [k.prefix for k in snapshot.keys.values()] == [expired.row.prefix]
    assert route.pk == snapshot.routes[0].id


@pytest.mark.django_db
def test_an_empty_database_gives_an_empty_snapshot() -> None:
    snapshot = build()
    assert (snapshot.revision, snapshot.routes, dict(snapshot.keys)) == (0, (), {})


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_rows() -> None:
    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            build()
        return len(queries)

    publish("somebody", "a change")
    few = count()
    for number in range(20):
        provider = make_provider(f"p{number}")
        make_route(f"m{number}", provider, provider)
        make_key(f"team{number}")
    assert count() == few
    assert few <= 13


BAD: list[tuple[str, str, object, str]] = [
    ("Provider", "kind", "made-up", "provider"),
    ("Provider", "name", "", "provider"),
    ("Provider", "connect_timeout", 0, "provider"),
    ("Provider", "idle_timeout", "soon", "provider"),
    ("Credential", "sealed", "gAAAA-canary-not-a-token", "credential"),
    ("Route", "pattern", "a b", "route"),
    ("Route", "pattern", "*-gpt", "route"),
    ("Route", "priority", "first", "route"),
    ("Route", "losses", "loud", "route"),
    ("Target", "weight", -1, "target"),
    ("Target", "weight", "many", "target"),
    ("Target", "tier", "x", "target"),
    ("Target", "body_patch", "[1]", "target"),
    ("Target", "body_patch", "{canary", "target"),
    ("Target", "provider_id", 999, "target"),
    ("ApiKey", "digest", "canary, no hex", "API key"),
    ("ApiKey", "allowed_models", '"gpt-4o"', "API key"),
    ("ApiKey", "allowed_models", '["a b"]', "API key"),
    ("ApiKey", "allowed_models", "{canary", "API key"),
    ("ApiKey", "team_id", 999, "API key"),
    ("ApiKey", "expires_at", "2024-13-45 00:00:00", "API key"),
    ("Team", "name", "", "team"),
    ("CatalogueModel", "capabilities", '"tools"', "catalogue model"),
    ("CatalogueModel", "capabilities", "{canary", "catalogue model"),
    ("CatalogueModel", "input_price", -1, "catalogue model"),
    ("CatalogueModel", "input_price", "canary", "catalogue model"),
    ("CatalogueModel", "name", "", "catalogue model"),
    ("CatalogueModel", "context_window", "much", "catalogue model"),
]


@pytest.mark.parametrize(
    ("model", "column", "value", "word"), BAD, ids=[f"{m}.{c}-{v!r}" for m, c, v, _ in BAD]
)
@pytest.mark.django_db
def test_a_bad_row_is_left_out_and_said_so(
    model: str, column: str, value: object, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows: dict[str, Any] = {}
    for name in ("good", "bad"):
        provider = make_provider(name, kind="openai", secret=None)
        credential = make_credential(provider)
        route = make_route(f"{name}-model", provider)
        key = make_key(f"{name} team", label=name)
        entry = CatalogueModel.objects.create(kind="openai", name=f"{name}-model", input_price=1)
        rows = {
            "Provider": provider,
            "Credential": credential,
            "Route": route,
            "Target": route.targets.get(),
            "ApiKey": key.row,
            "Team": key.row.team,
            "CatalogueModel": entry,
        }
    with connection.constraint_checks_disabled():
        corrupt(rows[model], column, value)
        snapshot = build()
        corrupt(rows[model], column, _restored(rows[model], column))
    assert "good" in snapshot.providers
    assert [c.secret for c in snapshot.providers["good"].credentials] == [SECRET]
    assert [t.provider.name for r in snapshot.routes if r.pattern == "good-model" for t in r.targets] == [
        "good"
    ]
    assert [k.label for k in snapshot.keys.values() if k.label == "good"] == ["good"]
    assert ("openai", "good-model") in snapshot.catalogue
    missing = {
        "Provider": "bad" not in snapshot.providers,
        "Credential": not snapshot.providers.get("bad", snapshot.providers["good"]).credentials,
        "Route": "bad-model" not in snapshot.exact,
        "Target": not any(r.targets for r in snapshot.routes if r.pattern == "bad-model"),
        "ApiKey": not any(k.label == "bad" for k in snapshot.keys.values()),
        "Team": not any(k.label == "bad" for k in snapshot.keys.values()),
        "CatalogueModel": ("openai", "bad-model") not in snapshot.catalogue,
    }
    assert missing[model]
    assert f"{word} {rows[model].pk} cannot be used and is left out" in caplog.text
    assert "canary" not in caplog.text


def _restored(row: Any, column: str) -> object:
    field = next(f for f in row._meta.fields if f.column == column)
    value = field.get_db_prep_save(getattr(row, field.attname), connection)
    return str(value) if isinstance(value, (Decimal, datetime)) else value


@pytest.mark.django_db
def test_a_route_that_lost_its_targets_stays_so_that_its_models_do_not_slip_to_a_wider_one() -> None:
    make_route("*", make_provider())
    bad = make_route("secret-model", make_provider("gone"))
    Provider.objects.filter(name="gone").update(kind="made-up")
    snapshot = build()
    assert [r.id for r in snapshot.exact["secret-model"]] == [bad.pk]
    assert snapshot.exact["secret-model"][0].targets == ()


@pytest.mark.django_db
def test_a_vault_with_another_key_loses_the_credentials_alone(caplog: pytest.LogCaptureFixture) -> None:
    make_route("gpt-*", make_provider())
    snapshot = build_snapshot(Vault([b"x" * 32]))
    assert snapshot.providers["openai"].credentials == ()
    assert len(snapshot.routes) == 1
    assert "cannot be decrypted with the configured key" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.django_db
def test_two_rows_ciphertexts_cannot_be_swapped(caplog: pytest.LogCaptureFixture) -> None:
    one, two = (make_provider(name).credentials.get() for name in ("one", "two"))
    one.sealed, two.sealed = two.sealed, one.sealed
    Credential.objects.bulk_update([one, two], ["sealed"])
    assert all(not provider.credentials for provider in build().providers.values())
    assert "sealed for another provider" in caplog.text


@pytest.mark.django_db
def test_edits_while_the_tables_are_read_give_no_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit comes between two queries of the first reading: that reading is thrown away."""
    make_provider("first", kind="ollama")
    publish("somebody", "before")
    reads: list[int] = []
    inner = tables._read

    def read(revision: int) -> tables.Tables:
        found = inner(revision)
        if not reads:
            make_provider("second", kind="ollama")
            publish("somebody", "between")
        reads.append(revision)
        return found

    monkeypatch.setattr(tables, "_read", read)
    snapshot = build()
    assert reads == [1, 2]
    assert (snapshot.revision, set(snapshot.providers)) == (2, {"first", "second"})


@pytest.mark.django_db
def test_edits_that_never_end_still_give_a_snapshot_under_a_number_that_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = iter(range(1, 100))
    monkeypatch.setattr(tables, "latest", lambda: next(numbers))
    snapshot = build()
    # The next look sees another number, so it reads again.
    assert snapshot.revision < next(numbers)


@pytest.mark.django_db
def test_a_database_error_is_no_empty_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise DatabaseError("gone")

    monkeypatch.setattr(tables, "latest", broken)
    with pytest.raises(DatabaseError):
        build()


@pytest.mark.postgres
@pytest.mark.usefixtures("postgres")
def test_postgresql_refuses_the_values_that_sqlite_takes() -> None:
    """Why the rows above can be bad on SQLite alone."""
    key = make_key(expires_at=datetime.now(UTC))
    with pytest.raises(DatabaseError), connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_apikey SET expires_at = 'canary' WHERE id = %s", [key.row.pk])


def test_the_models_read_are_all_that_steer() -> None:
    """A new table that steers must be read, or the snapshot lies."""
    steering = {
        ApiKey,
        Budget,
        CachePurge,
        CatalogueModel,
        Credential,
        Limit,
        Measure,
        Provider,
        Route,
        Target,
    }
    steering |= {Team}
    assert len(set(tables.Tables.__struct_fields__) - {"revision", "unread"}) == len(steering)
