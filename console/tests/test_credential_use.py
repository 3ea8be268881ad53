"""When each credential was used last: noted beside the ledger, shown in the admin and the management API."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.ledger.rows import AttemptEntry, CredentialUse
from accounts.ledger.table import write
from accounts.tests.ledger_lines import AT, ending, opening
from console.tests.test_manage_access import ask, bearer
from providers.models import Credential
from routing.credential_use import safe_to_remove, with_use
from routing.owned import OwnedObject
from routing.tests.admin_pages import browser, page
from tests.support.rows import make_credential, make_key, make_provider

DAY = timedelta(days=1)
MADE = AT.timestamp()


def used(number: int, last: datetime, first: datetime | None = None) -> None:
    CredentialUse.objects.update_or_create(
        credential_id=number, defaults={"last_at": last, "first_at": first or last}
    )


def of(number: int) -> Any:
    return with_use(Credential.objects.all()).get(pk=number)


@pytest.mark.usefixtures("database")
class TestNoted:
    """On SQLite and on PostgreSQL."""

    def test_by_the_end_of_a_call_and_not_by_its_beginning(self) -> None:
        write([opening()], "p1")
        assert not CredentialUse.objects.exists()
        write([ending(credential_id=5)], "p1")
        assert CredentialUse.objects.values_list("credential_id", "first_at", "last_at").get() == (5, AT, AT)
        assert AttemptEntry.objects.get().credential_id == 5

    def test_the_latest_whoever_writes_last(self) -> None:
        lines = [ending(f"r{each}", at=MADE + 60 * each, credential_id=5) for each in range(4)]
        write(lines[1:3], "p1")
        write(lines[3:], "p2")
        write(lines[:1], "late")
        row = CredentialUse.objects.get()
        assert (row.first_at, row.last_at) == (AT + timedelta(minutes=2), AT + timedelta(minutes=3))

    def test_each_of_a_call_that_went_on_with_another(self) -> None:
        write([ending("r1", credential_id=5), ending("r2", credential_id=7, attempts=2)], "p1")
        write([ending("r3", credential_id=None), ending("r4", credential_id="x")], "p1")
        assert set(CredentialUse.objects.values_list("credential_id", flat=True)) == {5, 7}

    def test_a_moment_later_is_no_write(self) -> None:
        write([ending("r1", credential_id=5)], "p1")
        write([ending("r2", at=MADE + 9, credential_id=5)], "p1")
        assert CredentialUse.objects.get().last_at == AT
        write([ending("r3", at=MADE + 11, credential_id=5)], "p1")
        assert CredentialUse.objects.get().last_at == AT + timedelta(seconds=11)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("first", "last", "safe"),
    [
        # Nothing was noted of any, or not for long enough: it may have been used before that.
        (None, None, False),
        (6 * DAY, None, False),
        (8 * DAY, None, True),
        (8 * DAY, 8 * DAY, True),
        (30 * DAY, 6 * DAY, False),
    ],
)
def test_safe_to_remove(first: timedelta | None, last: timedelta | None, safe: bool) -> None:
    provider, now = make_provider("openai", secret=None), timezone.now()
    row = make_credential(provider, created=now - 90 * DAY)
    if first is not None:
        used(row.pk + 1, now, now - first)
    if last is not None:
        used(row.pk, now - last)
    assert safe_to_remove(of(row.pk)) is safe


@pytest.mark.django_db
def test_a_new_one_is_not_yet_and_a_disabled_one_at_once_unless_it_keeps_files() -> None:
    provider, now = make_provider("openai", secret=None), timezone.now()
    row = make_credential(provider)
    used(row.pk + 1, now, now - 90 * DAY)
    assert not safe_to_remove(of(row.pk))
    Credential.objects.update(enabled=False)
    assert safe_to_remove(of(row.pk))
    team = make_key().row.team
    kept = OwnedObject.objects.create(
        kind="file", upstream_id="file-1", provider=provider, credential=row, team=team
    )
    assert not safe_to_remove(of(row.pk))
    OwnedObject.objects.filter(pk=kept.pk).update(expires=int(now.timestamp()) - 1)
    assert safe_to_remove(of(row.pk))


@pytest.mark.django_db
def test_the_admin_and_the_management_api_say_it(client: Client) -> None:
    cache.clear()
    provider = make_provider("openai")
    row = provider.credentials.get()
    root = User.objects.create_superuser("root")
    operator = browser(root)
    lists, change = page("providers_provider_changelist"), page("providers_provider_change", provider.pk)
    assert "never" in operator.get(lists).content.decode()
    assert "never" in operator.get(change).content.decode()
    at = timezone.now().replace(microsecond=0)
    used(row.pk, at)
    for address in (lists, change):
        assert f"{at:%Y-%m-%d %H:%M} UTC" in operator.get(address).content.decode()
    assert "no: in use" in operator.get(change).content.decode()
    head = bearer(root)
    whole = ask(client, "GET", f"providers/{provider.pk}", head)
    (said,) = whole.json()["credentials"]
    assert (datetime.fromisoformat(said["last_used"]), said["safe_to_remove"]) == (at, False)
    # A use is no edit: whoever has read the provider may still change it.
    used(row.pk, at + DAY)
    again = ask(
        client, "PATCH", f"providers/{provider.pk}", {**head, "if-match": whole["etag"]}, {"enabled": False}
    )
    assert again.status_code == 200, again.content
    assert datetime.fromisoformat(again.json()["credentials"][0]["last_used"]) == at + DAY
