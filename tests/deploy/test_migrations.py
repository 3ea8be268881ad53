"""What a migration may do, so that the version before goes on beside the new one: it only adds, and what it
adds to the tables that calls are written to may be left out."""

from __future__ import annotations

import pytest
from django.db import migrations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.db.models import CharField, Index, TextField
from django.db.models.fields import NOT_PROVIDED

from accounts.index_beside import AddIndexBeside

OURS = ("accounts", "providers", "routing")
_ADDS = (
    migrations.CreateModel,
    migrations.AddField,
    migrations.AddConstraint,
    migrations.RemoveConstraint,
    migrations.AddIndex,
    migrations.RemoveIndex,
)
# Rows of these are made by people alone: while versions stand side by side, edits are frozen.
_EDITED = {"apikey", "limit", "provider", "credential", "route", "target", "team", "teammember"}
# Looked at by a person: a column's index became part of another.
_LOOKED_AT = {("accounts", "0004_one_index_of_requests")}
# They grow with calls: what builds a plain index of them holds up every call's end.
_GROWN = {"requestentry", "attemptentry", "usageday"}
# From before there was another way.
_PLAIN_INDEX = {("accounts", "0007_team_members")}


def objection(operation: Operation) -> str | None:
    """Why the version before cannot live with it; None: it can."""
    if not isinstance(operation, _ADDS):
        return "no addition: split it over two releases, the first of which no longer needs what goes"
    if isinstance(operation, migrations.AddField):
        field = operation.field
        may_be_left_out = field.null or field.many_to_many or field.db_default is not NOT_PROVIDED
        if not may_be_left_out and operation.model_name_lower not in _EDITED:
            return "the version before writes rows without it: null=True or db_default"
    return None


def holds_up(operation: Operation) -> bool:
    """Whether calls cannot be written down while it runs on a large table."""
    if not isinstance(operation, migrations.AddIndex) or isinstance(operation, AddIndexBeside):
        return False
    return operation.model_name_lower in _GROWN


def _migrations() -> list[tuple[str, str]]:
    return sorted(key for key in MigrationLoader(None).disk_migrations if key[0] in OURS)


@pytest.mark.parametrize("key", _migrations(), ids=".".join)
def test_the_version_before_can_go_on(key: tuple[str, str]) -> None:
    if key in _LOOKED_AT:
        return
    operations = MigrationLoader(None).disk_migrations[key].operations
    found = [(each.describe(), objection(each)) for each in operations]
    assert [each for each in found if each[1]] == []
    if key not in _PLAIN_INDEX:
        assert [each.describe() for each in operations if holds_up(each)] == []


@pytest.mark.parametrize(
    "operation",
    [
        migrations.RemoveField("route", "pattern"),
        migrations.RenameField("route", "pattern", "name"),
        migrations.RenameModel("Route", "Way"),
        migrations.DeleteModel("Route"),
        migrations.AlterField("route", "pattern", TextField()),
        migrations.RunSQL("DROP TABLE routing_route"),
        migrations.AddField("requestentry", "colour", CharField(max_length=9, default="")),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_takes_away_is_found(operation: Operation) -> None:
    assert objection(operation)


@pytest.mark.parametrize(
    "field",
    [CharField(max_length=9, null=True), CharField(max_length=9, db_default="")],
    ids=["null", "default"],
)
def test_what_may_be_left_out_is_no_trouble(field: CharField[str, str]) -> None:
    assert objection(migrations.AddField("requestentry", "colour", field)) is None


def test_a_plain_index_of_what_grows_is_found() -> None:
    index = Index(fields=["day"], name="by_day")
    assert holds_up(migrations.AddIndex("usageday", index))
    assert not holds_up(migrations.AddIndex("team", index))
    assert not holds_up(AddIndexBeside("usageday", index))
