"""The accounts app: who calls. Holds the key hasher that the composition root hands in."""

from __future__ import annotations

from typing import cast

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured

from accounts.keys import KeyHasher


class AccountsConfig(AppConfig):
    """`hasher` is set once at start, before the first admin page or command needs it."""

    name = "accounts"
    verbose_name = "Teams and keys"
    default_auto_field = "django.db.models.BigAutoField"
    hasher: KeyHasher | None = None

    def ready(self) -> None:
        """What is changed of users and roles is written down from now on."""
        from accounts.audit_access import connect  # noqa: PLC0415 - models are ready only now

        connect()


def hasher() -> KeyHasher:
    """The hasher that the composition root handed in. Raises ImproperlyConfigured before that."""
    found = cast(AccountsConfig, apps.get_app_config("accounts")).hasher
    if found is None:
        raise ImproperlyConfigured("accounts: no key hasher was handed in")
    return found
