"""Roles as Django groups: made once with what is here, and the operators' own from then on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth.models import Group, Permission

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


def make_roles(**_: Any) -> None:
    """Make the groups that are not there. One that is there is left as it is."""
    there = set(Group.objects.filter(name__in=ROLES).values_list("name", flat=True))
    for name, permissions in ROLES.items():
        if name not in there:
            Group.objects.create(name=name).permissions.set(_rows(permissions))


def _rows(names: Iterable[str]) -> list[Permission]:
    wanted = set(names)
    rows = Permission.objects.select_related("content_type")
    return [row for row in rows if f"{row.content_type.app_label}.{row.codename}" in wanted]
