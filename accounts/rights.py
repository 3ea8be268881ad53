"""Who may do what: each thing that somebody can do here by name, and the permissions that it takes. The admin
and the management API both ask `may`, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What somebody does. That one may see, add, change or delete the rows of a table is Django's own."""

    READ_CONFIG = "read the configuration"
    APPLY_CONFIG = "apply a configuration document"
    READ_REVISIONS = "read revisions"
    READ_DRAFTS = "read drafts"
    EDIT_DRAFTS = "edit, publish and drop drafts"
    APPROVE = "approve and reject risky changes of others"
    TAKE_BACK = "take revisions back"
    LINT = "check the configuration"
    EXPLAIN = "explain a request"
    TEST_PROVIDER = "test a provider"
    ADJUST_BREAKER = "hold a breaker open or closed"
    READ_PROVIDERS = "read providers and their breakers"
    READ_TEAMS = "read teams"
    READ_KEYS = "read keys"
    ISSUE_KEY = "issue a key"
    ROTATE_KEY = "rotate a key"
    REVOKE_KEY = "revoke a key"
    PLAY = "use the playground"
    READ_LIMITS = "read limits and what is left of them"
    READ_BUDGETS = "read budgets and what is left of them"
    READ_USAGE = "read usage"
    READ_REQUESTS = "read requests"
    READ_EVERY_TEAM = "read requests and usage of every team"
    READ_CACHE = "read how much is cached"
    PURGE_CACHE = "purge cached answers"
    READ_PROMPTS = "read prompts of like questions"
    READ_TOKENS = "read management tokens"
    REVOKE_TOKEN = "revoke a management token"  # noqa: S105 - the name of an action
    READ_AUDIT = "read the audit log"
    READ_CAPTURES = "read captured prompts"
    FORGET_CAPTURES = "forget captured prompts"
    READ_MEASURES = "see what is done in an incident"
    TAKE_MEASURES = "drain a provider, shed low priority, freeze edits"


# A document may point a provider at any address, the private network's too: nobody can be given this one,
# and only superusers have it.
_SUPERUSER = ("console.everything",)

EVERY_TEAM = "accounts.view_every_team"

_CONFIG = (
    "routing.view_route",
    "providers.view_provider",
    "accounts.view_apikey",
    "accounts.view_limit",
    "accounts.view_budget",
)

NEEDS: Mapping[Action, tuple[str, ...]] = {
    Action.READ_CONFIG: _CONFIG,
    Action.APPLY_CONFIG: _SUPERUSER,
    Action.READ_REVISIONS: ("routing.view_revision",),
    Action.READ_DRAFTS: ("routing.view_draft",),
    Action.EDIT_DRAFTS: ("routing.change_draft",),
    Action.APPROVE: ("routing.view_draft", "routing.approve_changes"),
    Action.TAKE_BACK: ("routing.change_revision",),
    Action.LINT: _CONFIG,
    Action.EXPLAIN: ("routing.view_route", "accounts.view_apikey"),
    Action.TEST_PROVIDER: ("providers.test_provider",),
    Action.ADJUST_BREAKER: ("providers.change_provider",),
    Action.READ_PROVIDERS: ("providers.view_provider",),
    Action.READ_TEAMS: ("accounts.view_team",),
    Action.READ_KEYS: ("accounts.view_apikey",),
    Action.ISSUE_KEY: ("accounts.add_apikey",),
    Action.ROTATE_KEY: ("accounts.add_apikey", "accounts.change_apikey"),
    Action.REVOKE_KEY: ("accounts.change_apikey",),
    Action.PLAY: ("accounts.add_apikey", "accounts.change_apikey"),
    Action.READ_LIMITS: ("accounts.view_limit",),
    Action.READ_BUDGETS: ("accounts.view_budget",),
    Action.READ_USAGE: ("accounts.view_usageday",),
    Action.READ_REQUESTS: ("accounts.view_requestentry",),
    Action.READ_EVERY_TEAM: (EVERY_TEAM,),
    Action.READ_CACHE: ("routing.view_cachepurge",),
    Action.PURGE_CACHE: ("routing.add_cachepurge",),
    Action.READ_PROMPTS: ("routing.view_semantic_prompts",),
    Action.READ_TOKENS: ("accounts.view_managementtoken",),
    Action.REVOKE_TOKEN: ("accounts.change_managementtoken",),
    Action.READ_AUDIT: ("accounts.view_auditentry",),
    Action.READ_CAPTURES: ("accounts.view_capture",),
    Action.FORGET_CAPTURES: ("accounts.delete_capture",),
    Action.READ_MEASURES: ("routing.view_measure",),
    Action.TAKE_MEASURES: ("routing.add_measure",),
}


def may(user: Any, action: Action) -> bool:
    """Whether `user` may do it. Whose rows he sees doing so is scope.py's."""
    return bool(user.has_perms(NEEDS[action]))
