"""Writes to the audit log who logs in and fails to, and what is changed of users, roles, memberships and
management tokens: by signals, because these rows are Django's, and forms, commands and shells change them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from axes.signals import user_locked_out
from django.contrib.auth.models import Group, Permission, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from accounts.audit import differences, entry
from accounts.models import Identity, ManagementToken, TeamMember

# Logging in is an entry of its own, and a token's use is in its row.
_COLUMNS: Mapping[type[Model], tuple[str, ...]] = {
    User: ("username", "email", "is_active", "is_staff", "is_superuser", "password"),
    Group: ("name",),
    TeamMember: ("user_id", "team_id"),
    Identity: ("user_id", "issuer", "subject"),
    ManagementToken: ("user_id", "label", "role_id", "team_id", "expires_at", "revoked_at"),
}
# Who fails at it has no name yet. No user has this one: it has a space.
SIGN_ON = "single sign-on"
_HIDDEN = frozenset({"password"})
_BEFORE = "_audit_before"
_SETS = {"post_add": "added", "post_remove": "removed", "pre_clear": "cleared"}


def connect() -> None:
    """Begin to listen."""
    for model in _COLUMNS:
        pre_save.connect(_look, sender=model, dispatch_uid=f"audit-look-{model.__name__}")
        post_save.connect(_saved, sender=model, dispatch_uid=f"audit-saved-{model.__name__}")
        post_delete.connect(_deleted, sender=model, dispatch_uid=f"audit-deleted-{model.__name__}")
    for field in (User.groups, User.user_permissions, Group.permissions):
        m2m_changed.connect(
            _set_changed, sender=field.through, dispatch_uid=f"audit-{field.through.__name__}"
        )
    user_logged_in.connect(_logged_in, dispatch_uid="audit-login")
    user_logged_out.connect(_logged_out, dispatch_uid="audit-logout")
    user_login_failed.connect(_failed, dispatch_uid="audit-failed")
    user_locked_out.connect(_locked_out, dispatch_uid="audit-locked")


def _look(instance: Model, *, raw: bool = False, **_: Any) -> None:
    found = None
    if instance.pk is not None and not raw:
        found = (
            type(instance)._default_manager.filter(pk=instance.pk).values(*_COLUMNS[type(instance)]).first()
        )
    setattr(instance, _BEFORE, found)


def _saved(instance: Model, *, created: bool, raw: bool = False, **_: Any) -> None:
    if raw:
        return
    before = None if created else getattr(instance, _BEFORE, None)
    changes = differences(_plain(before), _plain(_values(instance)), _HIDDEN)
    if changes:
        entry(_name(instance), "added" if created else "changed", changes).save()


def _deleted(instance: Model, **_: Any) -> None:
    entry(_name(instance), "deleted", differences(_plain(_values(instance)), None, _HIDDEN)).save()


def _set_changed(  # Django sends these names
    sender: type[Model], instance: Model, action: str, model: type[Model], pk_set: Any, **_: Any
) -> None:
    """Roles of a user, permissions of a role or of a user; or the same from the other side."""
    if action not in _SETS or (action != "pre_clear" and not pk_set):
        return
    if action == "pre_clear":
        # What a clear takes away is named nowhere: it is what is there now.
        rows = _held(instance, sender)
    else:
        rows = list(model._default_manager.filter(pk__in=pk_set or ()))
    if not rows:
        return
    names = sorted(map(_short, rows))
    what = f"{model._meta.verbose_name_plural} {_SETS[action]}"
    entry(_name(instance), "changed", {what: names}).save()


def _held(instance: Model, through: type[Model]) -> list[Model]:
    """Rows that a table between two binds to this one."""
    mine, other = sorted(
        (each for each in through._meta.concrete_fields if each.is_relation),
        key=lambda each: each.related_model is not type(instance),
    )
    links = through._default_manager.filter(**{mine.name: instance.pk}).select_related(other.name)
    return [getattr(link, other.name) for link in links]


def _short(row: Model) -> str:
    return f"{row.content_type.app_label}.{row.codename}" if isinstance(row, Permission) else str(row)


def _logged_in(user: Any, **_: Any) -> None:
    entry(f"user {user}", "logged in", author=user.get_username()).save()


def _logged_out(user: Any, **_: Any) -> None:
    if user is not None:
        entry(f"user {user}", "logged out", author=user.get_username()).save()


def _failed(credentials: Mapping[str, Any], request: Any = None, **_: Any) -> None:
    """Of a name that nobody has nothing is kept: it may be a password in the wrong field. Who is locked out
    is written down once, however often he tries."""
    if getattr(request, "axes_locked_out", False):
        return
    why = {"why": credentials["why"]} if "why" in credentials else {}
    entry(_who(str(credentials.get("username", ""))), "login failed", why, author="nobody").save()


def _locked_out(username: str, **_: Any) -> None:
    entry(_who(username), "locked out", author="nobody").save()


def _who(username: str) -> str:
    if username.startswith(SIGN_ON):
        return SIGN_ON
    known = User.objects.filter(username=username.replace("\0", "")[:150]).exists()
    return f"user {username}" if known else "a user that there is not"


def _name(row: Model) -> str:
    return f"{row._meta.verbose_name} {row}"


def _values(row: Model) -> dict[str, Any]:
    return {column: getattr(row, column) for column in _COLUMNS[type(row)]}


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if values is None else json.loads(json.dumps(values, cls=DjangoJSONEncoder))
