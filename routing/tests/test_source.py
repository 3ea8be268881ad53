"""The file that remembers the last good configuration: whole, sealed, private, and no one's trouble."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.utils import timezone

from accounts.models import Team
from providers.apps import vault
from providers.crypto import Vault
from providers.models import CatalogueModel
from routing.revisions import publish
from routing.source import TableSource
from tests.support.rows import SECRET, make_key, make_provider, make_route


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "last-good"


@pytest.fixture
def source(path: Path) -> TableSource:
    return TableSource(path, vault())


def fill() -> None:
    """One row of everything."""
    provider = make_provider("openai", base_url="https://proxy.example/v1", idle_timeout=2.5)
    patch = {"temperature": 0.5, "top_k": None, "deep": [{"a": 1}]}
    make_route("gpt-*", {"provider": provider, "body_patch": patch}, team=Team.objects.create(name="Käfer"))
    make_key(allowed_models=["gpt-*"], expires_at=timezone.now() + timedelta(days=1))
    CatalogueModel.objects.create(
        kind="openai",
        name="gpt-4o*",
        context_window=128000,
        capabilities=["tools"],
        input_price=Decimal("2.5"),
    )
    publish("somebody", "made")


@pytest.mark.usefixtures("database")
def test_what_is_recalled_is_what_was_loaded(source: TableSource) -> None:
    fill()
    loaded = source.load()
    recalled = source.recall()
    assert recalled is not None
    for name in ("revision", "routes", "keys", "providers"):
        assert getattr(recalled, name) == getattr(loaded, name)
    assert dict(recalled.catalogue) == dict(loaded.catalogue)
    assert recalled.catalogue["openai", "gpt-4o-mini"] == loaded.catalogue["openai", "gpt-4o-mini"]
    assert source.latest() == loaded.revision == 1


@pytest.mark.django_db
def test_the_file_is_private_and_shows_nothing(source: TableSource, path: Path) -> None:
    fill()
    source.load()
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    for word in (SECRET, "openai", "proxy.example", "gpt-*"):
        assert word not in text
    assert [each.name for each in path.parent.iterdir()] == ["last-good"]


@pytest.mark.django_db
def test_a_file_that_somebody_changed_is_not_used(
    source: TableSource, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill()
    source.load()
    token = path.read_text()
    for bad in (token[:-8] + "AAAAAAA=", token[: len(token) // 2], "", "not a token", "ü"):
        path.write_text(bad, encoding="utf-8")
        assert source.recall() is None
    assert caplog.text.count("last good configuration cannot be read") == 5


@pytest.mark.django_db
def test_another_master_key_cannot_open_it(source: TableSource, path: Path) -> None:
    fill()
    source.load()
    assert TableSource(path, Vault([b"x" * 32])).recall() is None


@pytest.mark.django_db
def test_a_sealed_credential_is_no_configuration(source: TableSource, path: Path) -> None:
    path.write_text(vault().seal("{}", 1))
    assert source.recall() is None


def test_no_file_is_no_error(source: TableSource, caplog: pytest.LogCaptureFixture) -> None:
    assert source.recall() is None
    assert not caplog.records


@pytest.mark.django_db
def test_a_folder_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill()
    snapshot = TableSource(tmp_path / "missing" / "last-good", vault()).load()
    assert snapshot.revision == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.django_db
def test_large_numbers_survive(source: TableSource) -> None:
    make_route("gpt-*", {"provider": make_provider(), "body_patch": {"seed": 2**80}})
    publish("somebody", "made")
    assert source.load().routes[0].targets[0].body_patch["seed"] == 2**80
    recalled = source.recall()
    assert recalled is not None
    assert recalled.routes[0].targets[0].body_patch["seed"] == pytest.approx(2**80)


@pytest.mark.django_db
def test_the_older_of_two_processes_does_not_leave_halves(source: TableSource, path: Path) -> None:
    """Written beside and put in place: a reader sees one version or the other."""
    fill()
    source.load()
    before = path.stat().st_ino
    publish("somebody", "again")
    source.load()
    assert path.stat().st_ino != before
    recalled = source.recall()
    assert recalled is not None
    assert recalled.revision == 2
