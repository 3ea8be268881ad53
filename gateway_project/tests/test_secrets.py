"""The master secret and what is derived from it."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from gateway_project.secrets import Secrets, WeakSecretError, master_secret

MASTER = "0123456789abcdef0123456789abcdef"


def test_the_same_master_gives_the_same_keys() -> None:
    assert Secrets.derived(MASTER) == Secrets.derived(MASTER)


def test_each_key_differs_and_none_is_the_master() -> None:
    made = Secrets.derived(MASTER)
    parts = [*(key.encode() for key in made.django_keys), *made.peppers, *made.vault_keys]
    assert len(set(parts)) == len(parts)
    assert all(MASTER.encode() not in part for part in parts)
    assert made.peppers[0] not in Secrets.derived(MASTER + "x").vault_keys


def test_another_master_gives_other_keys() -> None:
    ours, theirs = Secrets.derived(MASTER), Secrets.derived(MASTER.upper())
    assert ours.django_keys != theirs.django_keys
    assert ours.peppers != theirs.peppers
    assert ours.vault_keys != theirs.vault_keys


def test_s27_after_a_rotation_the_new_one_is_first_and_the_old_ones_follow() -> None:
    old, new = Secrets.derived(MASTER), Secrets.derived(MASTER + "x")
    both = Secrets.derived(MASTER + "x", MASTER)
    assert both.django_keys == new.django_keys + old.django_keys
    assert both.peppers == new.peppers + old.peppers
    assert both.vault_keys == new.vault_keys + old.vault_keys


def test_nothing_is_shown() -> None:
    made = Secrets.derived(MASTER)
    assert made.django_keys[0] not in repr(made)
    assert "pepper" not in repr(made)


def test_development_makes_one_that_only_the_owner_reads(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    made = master_secret(None, folder, production=False)
    assert len(made) >= 32
    assert master_secret(None, folder, production=False) == made
    mode = stat.S_IMODE((folder / "secret_key").stat().st_mode)
    assert mode == 0o600
    assert [path.name for path in folder.iterdir()] == ["secret_key"]


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    found: list[str] = []
    ready = threading.Barrier(8)

    def start() -> None:
        ready.wait()
        found.append(master_secret(None, tmp_path, production=False))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_damaged_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("short")
    with pytest.raises(WeakSecretError):
        master_secret(None, tmp_path, production=False)
    assert (tmp_path / "secret_key").read_text() == "short"


@pytest.mark.parametrize("given", ["", "short", "a" * 64, "ab" * 32])
def test_a_weak_one_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(WeakSecretError) as refused:
        master_secret(given, tmp_path, production=True)
    assert not given or given not in str(refused.value)


def test_production_makes_none(tmp_path: Path) -> None:
    with pytest.raises(WeakSecretError):
        master_secret(None, tmp_path, production=True)
    assert not list(tmp_path.iterdir())
