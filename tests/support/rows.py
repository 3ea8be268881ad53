"""Rows for tests, with everything that the test does not care about filled in.

provider = make_provider("openai", secret="sk-...")    # with one credential; kind as the name unless given
route = make_route("gpt-*", provider)                  # with one target for each provider or target given
key = make_key(allowed_models=["gpt-*"])               # the key itself; its row is key.row
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission, User

from accounts.apps import hasher
from accounts.keys import display_prefix, issue
from accounts.models import ApiKey, Team
from providers.apps import vault
from providers.crypto import last4
from providers.kinds import KINDS
from providers.models import Credential, Provider
from routing.models import Route, Target

SECRET = "sk-canary-0123456789-abcd"


class Key(str):
    """A gateway key with its row."""

    row: ApiKey


def make_provider(name: str = "openai", *, secret: str | None = SECRET, **fields: Any) -> Provider:
    """A provider; with a credential labelled `default` unless `secret` is None or its kind needs none."""
    kind = fields.pop("kind", name if name in KINDS else "openai_compatible")
    provider = Provider.objects.create(name=name, kind=kind, **fields)
    if secret is not None and KINDS[kind].auth != "none":
        make_credential(provider, secret)
    return provider


def make_credential(provider: Provider, secret: str = SECRET, **fields: Any) -> Credential:
    """A credential of this provider."""
    sealed = vault().seal(secret, provider.pk)
    return Credential.objects.create(provider=provider, sealed=sealed, last4=last4(secret), **fields)


def make_route(pattern: str, *targets: Provider | dict[str, Any], **fields: Any) -> Route:
    """A route; a target is a provider or the fields of a target."""
    route = Route.objects.create(pattern=pattern, **{"name": pattern, **fields})
    for target in targets:
        values = target if isinstance(target, dict) else {"provider": target}
        Target.objects.create(route=route, **values)
    return route


def make_key(team: str = "crew", **fields: Any) -> Key:
    """A key of the team, which is made where there is none."""
    key = Key(issue())
    owner, _ = Team.objects.get_or_create(name=team)
    digest = hasher().digest(key).hex()
    key.row = ApiKey.objects.create(team=owner, prefix=display_prefix(key), digest=digest, **fields)
    return key


def make_staff(*permissions: str, name: str = "ops") -> User:
    """A member of staff with these permissions (`app.codename`) and no others."""
    user = User.objects.create_user(name, is_staff=True)
    for permission in permissions:
        app, _, codename = permission.partition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user
