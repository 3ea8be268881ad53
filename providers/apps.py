"""The providers app: where calls can go. Holds what the composition root hands in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

from django.apps import AppConfig, apps
from django.core.exceptions import ImproperlyConfigured

from providers.crypto import Vault


class BreakerNow(NamedTuple):
    """How the breaker of one upstream model is: closed, half_open or open, and the seconds until it lets
    somebody through."""

    model: str
    state: str
    seconds: float


def _no_breakers(_provider: str) -> Sequence[BreakerNow]:
    """Where no calls are served, as in a command."""
    return ()


class ProvidersConfig(AppConfig):
    """`vault` is set once at start, before the first admin page or command needs it. `breakers` is set where
    calls are served: how those of a provider are in this process."""

    name = "providers"
    verbose_name = "Providers and models"
    default_auto_field = "django.db.models.BigAutoField"
    vault: Vault | None = None
    breakers: Callable[[str], Sequence[BreakerNow]] = staticmethod(_no_breakers)


def vault() -> Vault:
    """The vault that the composition root handed in. Raises ImproperlyConfigured before that."""
    found = cast(ProvidersConfig, apps.get_app_config("providers")).vault
    if found is None:
        raise ImproperlyConfigured("providers: no vault was handed in")
    return found


def breakers(provider: str) -> Sequence[BreakerNow]:
    """The breakers of this provider's models, as this process knows them."""
    return cast(ProvidersConfig, apps.get_app_config("providers")).breakers(provider)
