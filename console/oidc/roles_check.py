"""Whether each role that single sign-on is to give is there: told at a start and by
Django's check of the database, and not first to somebody who cannot log in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from django.apps import apps
from django.contrib.auth.models import Group
from django.core import checks
from django.db import connection

from console.apps import ConsoleConfig


def unknown_roles(names: Iterable[str]) -> list[str]:
    """Those of these roles that no group of the admin is."""
    wanted = set(names)
    return sorted(wanted - set(Group.objects.filter(name__in=wanted).values_list("name", flat=True)))


def what_is_wrong() -> str:
    """In words; "" where every role is there, or single sign-on is off. Raises DatabaseError."""
    provider = cast(ConsoleConfig, apps.get_app_config("console")).sign_in
    given = () if provider is None else provider.settings.roles.values()
    missing = unknown_roles(frozenset().union(*given))
    if not missing:
        return ""
    there = ", ".join(Group.objects.order_by("name").values_list("name", flat=True))
    names = ", ".join(map(repr, missing))
    return (
        f"LLM_GATEWAY_OIDC_ROLES gives {names}, and there is no such role: nobody gets it. "
        f"The roles are the admin's groups: {there}."
    )


def check_roles(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """Of Django's checks one that asks the database. Before the first migration nothing is known; and no
    later one is to fail for it, so it is a warning."""
    if not databases or Group._meta.db_table not in connection.introspection.table_names():
        return []
    words = what_is_wrong()
    hint = "Mend the setting, or make the group in the admin."
    return [checks.Warning(words, hint=hint, id="console.W001")] if words else []
