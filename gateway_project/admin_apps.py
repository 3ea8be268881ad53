"""The admin and its theme as Django apps that load their pages when somebody first needs them: a process that
serves calls need not hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.contrib import admin
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class ThemeConfig(AppConfig):
    """The theme alone. Its own config makes its site, and with it loads most of the theme, at once."""

    name = "unfold"


class AdminConfig(SimpleAdminConfig):
    """`urls.py`, which is read with the first visit, registers the pages, and so does the check of them."""

    default_site = "unfold.sites.UnfoldAdminSite"

    def ready(self) -> None:
        """Not Django's own checks: those would see no page that is not registered yet."""
        checks.register(_check_pages, checks.Tags.admin)


def _check_pages(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    admin.autodiscover()
    return [*check_dependencies(), *check_admin_app(app_configs)]
