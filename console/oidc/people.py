"""Who of the identity provider is which user here, and with which roles: bound by issuer and subject, and by
nothing that people choose or are called."""

from __future__ import annotations

import hashlib
import logging
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.acting import acting
from accounts.identities import Identity
from console.oidc.errors import RefusedError, UnavailableError
from console.oidc.roles_check import unknown_roles
from console.oidc.settings import OidcSettings

logger = logging.getLogger(__name__)

_NO_ROLE = "None of your groups has a role here. Whoever runs this gateway can change that."
_OFF = "Your user is switched off here."
_MOST_NAME = 120


def admit(claims: Mapping[str, Any], settings: OidcSettings) -> User:
    """The user of these claims, who are checked, with the roles that his groups give now. One who has none is
    refused, and has lost those that he had. Raises RefusedError, UnavailableError."""
    roles = _roles(claims.get(settings.groups_claim), settings)
    _explain()
    user = _bound(claims)
    if user is None:
        if not roles:
            raise RefusedError("no group of theirs has a role", _NO_ROLE)
        user = _made(claims)
    if not user.is_active or not user.is_staff:
        raise RefusedError(f"user {user} is switched off", _OFF)
    if set(user.groups.all()) != set(roles):
        user.groups.set(roles)
    if not roles:
        raise RefusedError(f"no group of user {user} has a role", _NO_ROLE)
    return user


def _explain() -> None:
    """To the audit log, which writes down what is changed of users and roles."""
    now = acting()
    if now is not None:
        now.reason = "single sign-on"


def _roles(said: object, settings: OidcSettings) -> list[Group]:
    groups = said if isinstance(said, list) else [said]
    names: set[str] = set()
    for each in groups:
        if isinstance(each, str):
            names |= settings.roles.get(each, frozenset())
    for missing in unknown_roles(names):
        logger.warning("single sign-on: there is no role %r", missing)
    return list(Group.objects.filter(name__in=names))


def _bound(claims: Mapping[str, Any]) -> User | None:
    key = {"issuer": claims["iss"], "subject": claims["sub"]}
    row = Identity.objects.select_related("user").filter(**key).first()
    if row is None:
        return None
    Identity.objects.filter(pk=row.pk).update(used_at=timezone.now())
    return row.user


def _made(claims: Mapping[str, Any]) -> User:
    try:
        with transaction.atomic():
            user = User(username=_free_name(claims), email=_email(claims), is_staff=True)
            user.set_unusable_password()
            user.save()
            Identity.objects.create(
                user=user, issuer=claims["iss"], subject=claims["sub"], used_at=timezone.now()
            )
            return user
    except IntegrityError:
        # Twice at the same moment: who came first has made the user.
        found = _bound(claims)
        if found is None:
            raise UnavailableError("a user of this name was made at the same moment") from None
        return found


def _free_name(claims: Mapping[str, Any]) -> str:
    """A name that nobody has. A user of the same name is somebody else, whatever his case."""
    wanted = claims.get("preferred_username") or claims.get("email") or claims["sub"]
    # Letters that look like others would pass for somebody else in the audit log.
    text = unicodedata.normalize("NFKD", str(wanted)).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9@.+_-]+", "-", text).strip("-")[:_MOST_NAME] or "user"
    if not User.objects.filter(username__iexact=name).exists():
        return name
    digest = hashlib.sha256(f"{claims['iss']}\n{claims['sub']}".encode()).hexdigest()
    return f"{name}-{digest[:12]}"


def _email(claims: Mapping[str, Any]) -> str:
    """For people to read: nothing is decided by it."""
    said = claims.get("email")
    return said if isinstance(said, str) and len(said) <= 254 and said.isprintable() and "@" in said else ""
