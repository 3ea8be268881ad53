"""A member of staff as a management token stands for him: by a role, for a team, and never more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.models import Permission

from accounts.rights import EVERY_TEAM
from accounts.tokens import ManagementToken


class Narrowed:
    """The user of a token, who may what both the user and the token's role may, for the token's team alone.
    He is no superuser by it. Everything else is the user's own."""

    def __init__(self, token: ManagementToken) -> None:
        self.behind = token.user
        self.only_team = token.team_id
        self._role = None if token.role_id is None else _permissions(token.role_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)

    @property
    def is_superuser(self) -> bool:
        """Never: what only superusers may is for tokens that are not narrowed."""
        return False

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Whether the user may, and the role, and it is not about every team."""
        if (self.only_team is not None and perm == EVERY_TEAM) or (
            self._role is not None and perm not in self._role
        ):
            return False
        return self.behind.has_perm(perm, obj)

    def has_perms(self, perm_list: Iterable[str], obj: Any = None) -> bool:
        """Whether he may all of it."""
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        """Whether he may see anything of an app; what, is asked one by one."""
        return self.behind.has_module_perms(app_label)


def standing_for(token: ManagementToken) -> Any:
    """Who a token stands for."""
    return token.user if token.role_id is None and token.team_id is None else Narrowed(token)


def _permissions(role: int) -> frozenset[str]:
    rows = Permission.objects.filter(group=role).values_list("content_type__app_label", "codename")
    return frozenset(f"{app}.{codename}" for app, codename in rows)
