"""Who may do what in the admin, role by role; and that nothing that one can do is missing from these tables.
What the management API takes is in test_manage_access."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import RequestFactory
from django.urls import URLPattern

from accounts.rights import NEEDS, Action, may
from console.roles import ROLES
from console.tests.test_manage_access import ALLOWING, ANY, KEYS, NONE, OPERATING, member
from gateway_project.urls import urlpatterns
from routing.tests.admin_pages import browser, page
from tests.support.rows import make_key, make_provider, make_route, make_staff

pytestmark = pytest.mark.django_db
OWNER = frozenset({"owner"})
EVERYBODY = [*ROLES, "nobody"]

# Each thing that one can do, and the roles that may. A superuser may all of it.
MATRIX: dict[Action, frozenset[str]] = {
    Action.READ_CONFIG: ANY,
    Action.APPLY_CONFIG: NONE,
    Action.READ_REVISIONS: ANY,
    Action.READ_DRAFTS: ANY,
    Action.EDIT_DRAFTS: OPERATING,
    Action.APPROVE: OWNER,
    Action.TAKE_BACK: OPERATING,
    Action.LINT: ANY,
    Action.EXPLAIN: ANY,
    Action.TEST_PROVIDER: OPERATING,
    Action.ADJUST_BREAKER: OPERATING,
    Action.READ_PROVIDERS: ANY,
    Action.READ_TEAMS: ANY,
    Action.READ_KEYS: ANY,
    Action.ISSUE_KEY: KEYS,
    Action.ROTATE_KEY: KEYS,
    Action.REVOKE_KEY: KEYS,
    Action.PLAY: KEYS,
    Action.READ_LIMITS: ANY,
    Action.READ_BUDGETS: ANY,
    Action.READ_USAGE: ANY,
    Action.READ_REQUESTS: ANY,
    Action.READ_EVERY_TEAM: OPERATING,
    Action.READ_CACHE: ANY,
    Action.PURGE_CACHE: OPERATING,
    Action.READ_PROMPTS: OWNER,
    Action.READ_TOKENS: OWNER,
    Action.REVOKE_TOKEN: OWNER,
    Action.READ_AUDIT: OWNER,
    Action.READ_CAPTURES: OWNER,
    Action.FORGET_CAPTURES: KEYS,
    Action.READ_MEASURES: ANY,
    Action.TAKE_MEASURES: OPERATING,
}
# Who may view, add, change and delete the rows of each table that has a page or stands on one.
TABLES: dict[str, tuple[frozenset[str], ...]] = {
    "providers.provider": (ANY, OPERATING, OPERATING, OPERATING),
    "providers.credential": (ANY, OPERATING, OPERATING, OPERATING),
    "providers.cataloguemodel": (ANY, OPERATING, OPERATING, OPERATING),
    "routing.route": (ANY, OPERATING, OPERATING, OPERATING),
    "routing.target": (ANY, OPERATING, OPERATING, OPERATING),
    "routing.draft": (ANY, OPERATING, OPERATING, NONE),
    "routing.revision": (ANY, NONE, NONE, NONE),
    "routing.cachepurge": (ANY, OPERATING, NONE, NONE),
    "routing.semanticevent": (ANY, NONE, NONE, NONE),
    "routing.ownedobject": (ANY, NONE, NONE, NONE),
    "routing.translationloss": (ANY, NONE, NONE, NONE),
    "accounts.team": (ANY, KEYS, KEYS, OWNER),
    "accounts.apikey": (ANY, KEYS, KEYS, NONE),
    "accounts.limit": (ANY, ALLOWING, ALLOWING, ALLOWING),
    "accounts.budget": (ANY, ALLOWING, ALLOWING, ALLOWING),
    "accounts.usageday": (ANY, NONE, NONE, NONE),
    "accounts.requestentry": (ANY, NONE, NONE, NONE),
    "accounts.attemptentry": (ANY, NONE, NONE, NONE),
    "accounts.capture": (OWNER, NONE, NONE, NONE),
    "accounts.auditentry": (OWNER, NONE, NONE, NONE),
    "accounts.managementtoken": (OWNER, NONE, NONE, NONE),
    "accounts.teammember": (NONE, NONE, NONE, NONE),
    "accounts.identity": (NONE, NONE, NONE, NONE),
    "auth.user": (NONE, NONE, NONE, NONE),
    "auth.group": (NONE, NONE, NONE, NONE),
    "axes.accessattempt": (NONE, NONE, NONE, NONE),
    "axes.accessfailurelog": (NONE, NONE, NONE, NONE),
    "axes.accesslog": (NONE, NONE, NONE, NONE),
}
# What is done to chosen rows of a list.
CHOSEN: dict[tuple[str, str], frozenset[str]] = {
    ("providers.provider", "enable"): OPERATING,
    ("providers.provider", "disable"): OPERATING,
    ("providers.provider", "drain"): OPERATING,
    ("providers.provider", "end_drain"): OPERATING,
    ("providers.cataloguemodel", "follow_price_list"): OPERATING,
    ("routing.route", "enable"): OPERATING,
    ("routing.route", "disable"): OPERATING,
    ("routing.route", "purge_cache"): OPERATING,
    ("routing.semanticevent", "purge_answers"): OPERATING,
    ("accounts.team", "purge_cache"): OPERATING,
    ("accounts.team", "forget_captures"): KEYS,
    ("accounts.capture", "forget_chosen"): KEYS,
    ("accounts.apikey", "revoke_chosen"): KEYS,
    ("accounts.limit", "enable"): ALLOWING,
    ("accounts.limit", "disable"): ALLOWING,
    ("accounts.budget", "enable"): ALLOWING,
    ("accounts.budget", "disable"): ALLOWING,
    ("accounts.managementtoken", "revoke_chosen"): OWNER,
    ("axes.accessattempt", "cleanup_expired_attempts"): NONE,
}
# Buttons and pages of one row; asked for by GET, which shows a dialog or a page and changes nothing.
BUTTONS: dict[tuple[str, str], frozenset[str]] = {
    ("providers.provider", "test"): OPERATING,
    ("routing.route", "explain"): ANY,
    ("routing.revision", "take_back"): OPERATING,
    ("routing.revision", "go_back"): OPERATING,
    ("accounts.apikey", "revoke"): KEYS,
    ("accounts.apikey", "rotate"): KEYS,
    ("accounts.requestentry", "explain_route"): ANY,
}
# Pages of their own.
PAGES: dict[str, frozenset[str]] = {
    "admin/explain/": ANY,
    "admin/explain.json": ANY,
    "admin/lint/": ANY,
    "admin/rehearse/": ANY,
    "admin/live/": ANY,
    "admin/live/measure": OPERATING,
    "admin/live/end": OPERATING,
    "admin/playground/": KEYS,
    "admin/playground/key": KEYS,
    "admin/playground/end": KEYS,
    "admin/playground/request": KEYS,
    "admin/routing/revision/1/undo/": OPERATING,
    "admin/routing/revision/1/restore/": OPERATING,
    "admin/accounts/usageday/usage/": ANY,
    "admin/accounts/usageday/export/": ANY,
    "admin/accounts/requestentry/export/": ANY,
}
# Pages that take what changes something, and what would be right.
_POSTED = ("admin/playground/key", "admin/playground/end", "admin/live/measure", "admin/live/end")


def somebody(role: str) -> User:
    return make_staff(name=role) if role == "nobody" else member(role)


def asking(user: User) -> Any:
    request = RequestFactory().get("/admin/")
    request.user = user
    return request


def pages() -> dict[str, Any]:
    """Of each table its page, or the page that it stands on."""
    admin.autodiscover()
    found: dict[str, Any] = {}
    for model, own in admin.site._registry.items():
        found[model._meta.label_lower] = own
        for inline in own.inlines:
            found[inline.model._meta.label_lower] = inline(model, admin.site)
    return found


def test_every_action_says_what_it_takes_and_is_in_the_table() -> None:
    assert set(Action) == set(NEEDS) == set(MATRIX)


def test_every_page_and_every_button_is_in_the_tables() -> None:
    assert set(pages()) == set(TABLES)
    root = asking(User.objects.create_superuser("root"))
    common = {"delete_selected", "export_csv"}
    assert set(CHOSEN) == {
        (name, chosen)
        for name, own in pages().items()
        if hasattr(own, "get_actions")
        for chosen in own.get_actions(root)
        if chosen not in common
    }
    assert set(BUTTONS) == {
        (name, button)
        for name, own in pages().items()
        if hasattr(own, "actions_detail")
        for button in (*own.actions_detail, *own.actions_row, *own.actions_list, *own.actions_submit_line)
    }
    alone = {str(each.pattern) for each in urlpatterns if isinstance(each, URLPattern)}
    assert {each for each in alone if each.startswith("admin/")} == {
        each for each in PAGES if each.count("/") < 3 or "playground" in each
    }


@pytest.mark.parametrize("role", EVERYBODY)
def test_a_role_may_what_the_tables_say(role: str) -> None:
    user = somebody(role)
    request = asking(user)
    assert {action for action in Action if may(user, action)} == {
        action for action, roles in MATRIX.items() if role in roles
    }
    for name, there in pages().items():
        # An inline is asked of the row that it stands on.
        whole = () if hasattr(there, "get_actions") else (None,)
        allowed = [
            there.has_view_permission(request),
            there.has_add_permission(request, *whole),
            there.has_change_permission(request),
            there.has_delete_permission(request),
        ]
        assert allowed == [role in roles for roles in TABLES[name]], name
    for (name, chosen), roles in CHOSEN.items():
        assert (chosen in pages()[name].get_actions(request)) is (role in roles), (name, chosen)


@pytest.mark.parametrize("role", EVERYBODY)
def test_a_role_gets_the_pages_that_the_tables_say(role: str) -> None:
    make_route("gpt-*", make_provider())
    make_key()
    client = browser(somebody(role))
    for (name, button), roles in BUTTONS.items():
        status = client.get(page(f"{name.replace('.', '_')}_{button}", 1)).status_code
        assert (status == 403) is (role not in roles), (name, button, status)
        assert status < 500
    for address, roles in PAGES.items():
        send = client.post if address in _POSTED else client.get
        status = send(f"/{address}").status_code
        assert (status == 403) is (role not in roles), (address, status)
        assert status < 500
