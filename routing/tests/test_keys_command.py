"""manage.py keys: a key alone on standard output, and everything else beside it."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.apps import hasher
from accounts.models import ApiKey, Team
from routing.models import Revision
from tests.support.rows import make_key


def run(*words: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("keys", *words, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.mark.usefixtures("database")
def test_issuing_prints_the_key_alone_and_publishes_once() -> None:
    out, err = run("issue", "--team", "crew", "--label", "ci", "--expires", "90d", "--models", "gpt-*, o1")
    key = out.removesuffix("\n")
    assert key.startswith("gw-")
    assert len(key.split()) == 1
    row = ApiKey.objects.get()
    assert row.digest == hasher().digest(key).hex()
    assert (row.team.name, row.label, row.allowed_models) == ("crew", "ci", ["gpt-*", "o1"])
    assert row.expires_at is not None
    assert abs(row.expires_at - timezone.now() - timedelta(days=90)) < timedelta(minutes=5)
    assert "Team crew did not exist and was made." in err
    assert key not in err
    revision = Revision.objects.get(number__gt=0)
    assert (revision.author, revision.reason) == ("command line", f"key {row.prefix} issued to crew")
    assert key not in str(revision.summary)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("12h", timedelta(hours=12)),
        ("4w", timedelta(weeks=4)),
        ("2099-01-31", datetime(2099, 1, 31, tzinfo=UTC)),
        ("2099-01-31T10:00:00+02:00", datetime(2099, 1, 31, 8, tzinfo=UTC)),
    ],
)
@pytest.mark.django_db
def test_the_ways_to_say_when(when: str, expected: timedelta | datetime) -> None:
    run("issue", "--team", "crew", "--expires", when)
    found = ApiKey.objects.get().expires_at
    assert found is not None
    moment = timezone.now() + expected if isinstance(expected, timedelta) else expected
    assert abs(found - moment) < timedelta(minutes=5)


@pytest.mark.parametrize("when", ["", "0d", "soon", "90", "2001-01-31", "99999w99", "999999d", "-3d"])
@pytest.mark.django_db
def test_a_moment_that_makes_no_sense_issues_nothing(when: str) -> None:
    with pytest.raises(CommandError):
        run("issue", "--team", "crew", f"--expires={when}")
    assert not ApiKey.objects.exists()
    assert not Team.objects.exists()


@pytest.mark.parametrize("words", [("--models", "a b"), ("--label", "x" * 101), ("--team", " crew")])
@pytest.mark.django_db
def test_what_the_tables_refuse_is_said(words: tuple[str, str]) -> None:
    with pytest.raises(CommandError):
        run("issue", "--team", "crew", *words)
    assert not ApiKey.objects.exists()
    assert not Revision.objects.filter(number__gt=0).exists()


@pytest.mark.usefixtures("database")
def test_revoking_by_prefix_id_or_the_key_itself() -> None:
    keys = [make_key() for _ in range(3)]
    for key, given in zip(keys, (f"{keys[0].row.prefix}…", str(keys[1].row.pk), str(keys[2])), strict=True):
        assert run("revoke", given)[0].startswith(f"Revoked {key.row.prefix}")
        key.row.refresh_from_db()
        assert key.row.state == "revoked"
    assert Revision.objects.filter(number__gt=0).count() == 3
    assert "was revoked on" in run("revoke", keys[0].row.prefix)[0]
    assert Revision.objects.filter(number__gt=0).count() == 3


@pytest.mark.django_db
def test_a_prefix_that_two_keys_share_asks_for_an_id() -> None:
    one, two = make_key(), make_key()
    ApiKey.objects.update(prefix="gw-same")
    with pytest.raises(CommandError, match=f"{two.row.pk}, {one.row.pk}"):
        run("revoke", "gw-same")
    assert not ApiKey.objects.exclude(revoked_at=None).exists()


@pytest.mark.parametrize("given", ["gw-nothing", "", "9999", "9" * 40, "'; DROP TABLE accounts_apikey; --"])
@pytest.mark.django_db
def test_revoking_nothing_says_so(given: str) -> None:
    make_key()
    with pytest.raises(CommandError, match="No key has this prefix or id"):
        run("revoke", given)


@pytest.mark.django_db
def test_the_list_shows_no_more_than_the_prefix() -> None:
    assert run("list")[0].startswith("No keys yet.")
    key = make_key(label="ci", allowed_models=["gpt-*"])
    gone = make_key("other", revoked_at=timezone.now(), expires_at=timezone.now())
    out, _ = run("list")
    lines = out.splitlines()
    assert lines[0].split() == ["id", "key", "team", "label", "state", "expires", "models"]
    assert lines[2].split() == [
        str(key.row.pk),
        f"{key.row.prefix}…",
        "crew",
        "ci",
        "active",
        "never",
        "gpt-*",
    ]
    assert "revoked" in lines[1]
    assert key not in out
    assert gone not in out
