"""Roles as Django groups: made once with what is here, and the operators' own from then on; what a newer
version brings is added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db import connection

_SEEN = (
    "providers.provider",
    "providers.credential",
    "providers.cataloguemodel",
    "routing.route",
    "routing.target",
    "routing.revision",
    "routing.translationloss",
    "routing.cachepurge",
    "routing.semanticevent",
    "routing.ownedobject",
    "routing.measure",
    "routing.draft",
    "accounts.team",
    "accounts.apikey",
    "accounts.limit",
    "accounts.budget",
    "accounts.usageday",
    "accounts.requestentry",
    "accounts.attemptentry",
)


def _all(verbs: str, *models: str) -> frozenset[str]:
    pairs = (model.split(".") for model in models)
    return frozenset(f"{app}.{verb}_{model}" for app, model in pairs for verb in verbs.split())


_VIEWER = _all("view", *_SEEN)
_OPERATOR = (
    _VIEWER
    | _all(
        "add change delete",
        "providers.provider",
        "providers.credential",
        "providers.cataloguemodel",
        "routing.route",
        "routing.target",
        "accounts.limit",
        "accounts.budget",
    )
    | {
        "providers.test_provider",
        "routing.change_revision",
        "routing.add_cachepurge",
        "routing.add_measure",
        "routing.add_draft",
        "routing.change_draft",
        "accounts.view_every_team",
    }
)
_KEY_MANAGER = (
    _VIEWER
    | _all("add change", "accounts.team", "accounts.apikey")
    | _all("delete", "accounts.capture")
    | _all("add change delete", "accounts.limit", "accounts.budget")
)
_OWNER = (
    _OPERATOR
    | _KEY_MANAGER
    | _all("delete", "accounts.team", "accounts.apikey")
    | _all("view change", "accounts.managementtoken")
    | _all("view", "admin.logentry", "accounts.auditentry", "accounts.capture")
    | {"routing.view_semantic_prompts", "routing.approve_changes"}
)
# Who sees requests and usage sees those of his teams, unless he may see every team's. Users and groups are
# the superusers' alone: who may change a user may make himself one.
ROLES: Mapping[str, frozenset[str]] = {
    "viewer": _VIEWER,
    "operator": _OPERATOR,
    "key manager": _KEY_MANAGER,
    "owner": _OWNER,
}


class RolesOfMigrating:
    """Makes the roles when the database is set up, and gives those that are there what a newer version
    brings, of which nobody has decided yet."""

    def __init__(self) -> None:
        self._known: frozenset[str] | None = None

    def before(self, **_: Any) -> None:
        """Note what permissions there are before migrating; none where there are no tables yet."""
        there = Permission._meta.db_table in connection.introspection.table_names()
        self._known = frozenset(map(_named, _all_rows())) if there else None

    def after(self, **_: Any) -> None:
        """Tables and permissions are there."""
        known, self._known = self._known, None
        make_roles()
        if known is not None:
            _give(frozenset(map(_named, _all_rows())) - known)


def make_roles() -> None:
    """Make the groups that are not there. One that is there is left as it is."""
    there = set(Group.objects.filter(name__in=ROLES).values_list("name", flat=True))
    for name, permissions in ROLES.items():
        if name not in there:
            Group.objects.create(name=name).permissions.set(_rows(permissions))


def _give(new: frozenset[str]) -> None:
    for name, permissions in ROLES.items():
        if permissions & new:
            Group.objects.get(name=name).permissions.add(*_rows(permissions & new))


def _rows(names: frozenset[str]) -> list[Permission]:
    return [row for row in _all_rows() if _named(row) in names]


def _all_rows() -> Iterable[Permission]:
    return Permission.objects.select_related("content_type")


def _named(row: Permission) -> str:
    return f"{row.content_type.app_label}.{row.codename}"
