"""The providers app: where calls can go. Holds the vault that the composition root hands in."""

from __future__ import annotations

from typing import cast

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured

from providers.crypto import Vault


class ProvidersConfig(AppConfig):
    """`vault` is set once at start, before the first admin page or command needs it."""

    name = "providers"
    verbose_name = "Providers and models"
    default_auto_field = "django.db.models.BigAutoField"
    vault: Vault | None = None


def vault() -> Vault:
    """The vault that the composition root handed in. Raises ImproperlyConfigured before that."""
    found = cast(ProvidersConfig, apps.get_app_config("providers")).vault
    if found is None:
        raise ImproperlyConfigured("providers: no vault was handed in")
    return found
