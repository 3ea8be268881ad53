"""The admin's first page and its navigation, for the theme's settings to name."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse_lazy

from accounts.models import ApiKey
from accounts.rights import Action, may
from providers.kinds import KINDS
from providers.models import Provider
from routing.admin_lint import may_lint
from routing.approvals import waiting_for
from routing.models import Revision, Route


def _item(title: str, icon: str, page: str, permission: str, view: str = "changelist") -> dict[str, Any]:
    def permitted(request: HttpRequest) -> bool:
        user: Any = request.user
        return bool(user.has_perm(permission))

    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{page}_{view}"),
        "permission": permitted,
    }


def may_explain(request: HttpRequest) -> bool:
    """Whether somebody may ask where a request would go."""
    return may(request.user, Action.EXPLAIN)


def may_play(request: HttpRequest) -> bool:
    """Whether somebody may talk to routes from the browser: as a team, with a key that he may issue."""
    return may(request.user, Action.PLAY)


def may_watch(request: HttpRequest) -> bool:
    """Whether somebody may watch requests as they end."""
    return may(request.user, Action.READ_REQUESTS)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar's groups: what one edits daily above what one looks up. Drafts
    have the number of those that wait for whoever looks."""
    return [
        {
            "title": "Traffic",
            "items": [
                {"title": "Overview", "icon": "home", "link": reverse_lazy("admin:index")},
                {
                    "title": "Live traffic",
                    "icon": "monitoring",
                    "link": reverse_lazy("live"),
                    "permission": may_watch,
                },
                _item("Routes", "alt_route", "routing_route", "routing.view_route"),
                _item("Drafts", "edit_note", "routing_draft", "routing.view_draft")
                | {"badge": len(waiting_for(request.user)), "badge_variant": "warning"},
                _item("Providers", "cloud", "providers_provider", "providers.view_provider"),
                _item(
                    "Model catalogue",
                    "menu_book",
                    "providers_cataloguemodel",
                    "providers.view_cataloguemodel",
                ),
                {
                    "title": "Explain a request",
                    "icon": "route",
                    "link": reverse_lazy("explain"),
                    "permission": may_explain,
                },
                {
                    "title": "Rehearse a failure",
                    "icon": "emergency",
                    "link": reverse_lazy("drill"),
                    "permission": may_explain,
                },
                {
                    "title": "Playground",
                    "icon": "chat",
                    "link": reverse_lazy("playground"),
                    "permission": may_play,
                },
                {
                    "title": "Check the configuration",
                    "icon": "rule",
                    "link": reverse_lazy("lint"),
                    "permission": may_lint,
                },
            ],
        },
        {
            "title": "Access",
            "items": [
                _item("API keys", "key", "accounts_apikey", "accounts.view_apikey"),
                _item("Teams", "groups", "accounts_team", "accounts.view_team"),
                _item("Limits", "speed", "accounts_limit", "accounts.view_limit"),
                _item("Budgets", "savings", "accounts_budget", "accounts.view_budget"),
            ],
        },
        {
            "title": "History",
            "items": [
                _item("Usage", "bar_chart", "accounts_usageday", "accounts.view_usageday", "usage"),
                _item("Requests", "receipt_long", "accounts_requestentry", "accounts.view_requestentry"),
                _item("Captured prompts", "forum", "accounts_capture", "accounts.view_capture"),
                _item("Revisions", "history", "routing_revision", "routing.view_revision"),
                _item(
                    "Lost in translation",
                    "translate",
                    "routing_translationloss",
                    "routing.view_translationloss",
                ),
                _item(
                    "Hits of like questions",
                    "join_inner",
                    "routing_semanticevent",
                    "routing.view_semanticevent",
                ),
                _item("Files and batches", "folder", "routing_ownedobject", "routing.view_ownedobject"),
                _item("Cache purges", "mop", "routing_cachepurge", "routing.view_cachepurge"),
            ],
        },
        {
            "title": "Administration",
            "collapsible": True,
            "items": [
                _item("Users", "person", "auth_user", "auth.view_user"),
                _item("Groups", "badge", "auth_group", "auth.view_group"),
                _item(
                    "Management tokens",
                    "vpn_key",
                    "accounts_managementtoken",
                    "accounts.view_managementtoken",
                ),
                _item("Audit log", "fact_check", "accounts_auditentry", "accounts.view_auditentry"),
            ],
        },
    ]


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the first page shows: counts, changes that wait for whoever looks, providers that need something,
    and the last revisions, each only to whoever may see it."""
    user: Any = request.user
    context["cards"] = [
        {
            "title": title,
            "count": rows.count(),
            "link": reverse_lazy(f"admin:{page}_changelist"),
        }
        for title, rows, page, permission in (
            (
                "Providers on",
                Provider.objects.filter(enabled=True),
                "providers_provider",
                "providers.view_provider",
            ),
            ("Routes on", Route.objects.filter(enabled=True), "routing_route", "routing.view_route"),
            ("Active keys", ApiKey.objects.usable(), "accounts_apikey", "accounts.view_apikey"),
        )
        if user.has_perm(permission)
    ]
    context["waiting"] = waiting_for(user)
    context["explains"] = may_explain(request)
    context["lints"] = may_lint(request)
    context["needy"] = _needy() if user.has_perm("providers.view_provider") else []
    context["revisions"] = (
        Revision.objects.filter(number__gt=0)[:8] if user.has_perm("routing.view_revision") else []
    )
    return context


def _needy() -> list[Provider]:
    """Enabled providers that no call can use, because a credential is missing."""
    kinds = [kind.name for kind in KINDS.values() if kind.needs_credential]
    return list(Provider.objects.filter(enabled=True, kind__in=kinds).exclude(credentials__enabled=True))
