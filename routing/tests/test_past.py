"""The configuration as of a revision, read back for a question: whole, or with the keys that are sought."""

from __future__ import annotations

import pytest

from accounts.models import ApiKey, Team
from providers.apps import vault
from routing.models_history import RowVersion
from routing.past import Sought, tables_at
from routing.revisions import latest, publish
from routing.tables import read_tables
from tests.support.rows import make_key, make_provider, make_route

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published")]


@pytest.fixture
def published() -> None:
    """A route with a target, and a key."""
    make_route("m-*", make_provider("openai"))
    make_key()
    saved()


def saved() -> int:
    return publish("ivan", "r")


def test_a_column_that_is_younger_has_its_default() -> None:
    version = RowVersion.objects.get(table="route", until=None)
    younger = ("late_fallback", "enabled", "losses")
    version.values = {name: value for name, value in (version.values or {}).items() if name not in younger}
    version.save()
    number = latest()
    saved()
    [row] = tables_at(number, vault()).routes
    assert row == read_tables().routes[0]


def test_of_ten_thousand_keys_those_that_are_sought_are_read() -> None:
    team = Team.objects.get()
    mine, twin, other = (
        ApiKey.objects.create(team=team, prefix=prefix, digest=f"{n:064x}")
        for n, prefix in enumerate(("gw-mine", "gw-mine", "gw-other"))
    )
    number = saved()
    ApiKey.objects.all().delete()
    saved()

    def read(sought: Sought | None) -> set[int]:
        seen = tables_at(number, vault(), sought)
        assert len(seen.routes) == len(seen.targets) == 1
        return {row[0] for row in seen.keys}

    assert {mine.pk, twin.pk, other.pk} < read(None)
    assert read(Sought(prefixes=("gw-mine", "x"))) == {mine.pk, twin.pk}
    assert read(Sought(ids=(other.pk,))) == {other.pk}
    assert read(Sought(prefixes=("gw-\0", "'"))) == read(Sought()) == set()
