"""The routing app: which model name goes where."""

from __future__ import annotations

from django.apps import AppConfig


class RoutingConfig(AppConfig):
    """Sits above accounts and providers, and so registers their admin pages too."""

    name = "routing"
    verbose_name = "Routing"
    default_auto_field = "django.db.models.BigAutoField"
