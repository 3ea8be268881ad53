"""What the tests of approval share: one row of each table, and a risky change of each kind to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client

from accounts.audit import AuditEntry
from accounts.models import ApiKey, Budget, Limit, Team
from console.tests.test_manage_access import ALLOWING, KEYS, OPERATING, ask, bearer
from providers.apps import vault
from providers.models import CatalogueModel, Credential, Provider
from routing.approval_gate import Leave
from routing.models import Revision, Route, Target
from routing.models_approvals import Approval
from routing.models_drafts import Draft
from routing.revisions import latest, publish
from routing.tests.admin_pages import form_of, page
from tests.support.rows import make_key, make_provider, make_route

# Ends in the same four letters as the one that it replaces.
SECRET = "sk-canary-another-777777-abcd"
CREDENTIAL = {"credentials-0-secret": SECRET}


@dataclass(frozen=True)
class Kind:
    """A risky change: of the row of this table that has these columns, to these values. `form`: what else the
    admin's form wants; `by`: the roles that may; `address`: of the API's row, "" for none."""

    model: type[Model]
    which: dict[str, Any]
    to: dict[str, Any]
    by: frozenset[str]
    address: str = ""
    form: dict[str, Any] = field(default_factory=dict)

    def row(self) -> Any:
        """As it is now."""
        return self.model._default_manager.get(**self.which)

    def done(self) -> bool:
        """Whether it is in force."""
        row = self.row()
        return all(str(getattr(row, key)) == str(value) for key, value in self.to.items())

    def change(self) -> None:
        """In the tables, whoever asks."""
        self.model._default_manager.filter(**self.which).update(**self.to)


EXPIRES = datetime(2090, 1, 1, tzinfo=UTC)
KINDS: dict[str, Kind] = {
    "provider off": Kind(Provider, {"kind": "openai"}, {"enabled": False}, OPERATING, "providers"),
    "provider renamed": Kind(Provider, {"kind": "openai"}, {"name": "other"}, OPERATING, "providers"),
    "route off": Kind(Route, {"pattern__startswith": "gpt"}, {"enabled": False}, OPERATING, "routes"),
    "route moved": Kind(Route, {"pattern__startswith": "gpt"}, {"pattern": "gpt-5*"}, OPERATING, "routes"),
    "route before others": Kind(Route, {"pattern__startswith": "gpt"}, {"priority": 7}, OPERATING, "routes"),
    "default route": Kind(Route, {"pattern": "*"}, {"tries": 3}, OPERATING, "routes"),
    "answers kept": Kind(Route, {"pattern__startswith": "gpt"}, {"cache": "exact"}, OPERATING, "routes"),
    "limit raised": Kind(Limit, {}, {"amount": 500}, ALLOWING, "limits"),
    "limit of another model": Kind(Limit, {}, {"model": "gpt-9"}, ALLOWING, "limits"),
    "limit off": Kind(Limit, {}, {"enabled": False}, ALLOWING, "limits"),
    "budget raised": Kind(Budget, {}, {"amount": "50.000000"}, ALLOWING, "budgets"),
    "budget soft": Kind(Budget, {}, {"hard": False}, ALLOWING, "budgets"),
    "batches": Kind(Team, {"name": "crew"}, {"batches": True}, KEYS, "teams"),
    "capture": Kind(Team, {"name": "crew"}, {"capture": "all"}, KEYS, "teams"),
    "more models": Kind(
        ApiKey,
        {"label": "app"},
        {"allowed_models": ["gpt-*", "o3"]},
        KEYS,
        "keys",
        {"allowed_models": "gpt-*\no3"},
    ),
    "later end": Kind(
        ApiKey,
        {"label": "app"},
        {"expires_at": EXPIRES},
        KEYS,
        "keys",
        {"expires_at_0": "2090-01-01", "expires_at_1": "00:00:00"},
    ),
    "price": Kind(CatalogueModel, {"name": "gpt-4o"}, {"input_price": "1.000000"}, OPERATING, "prices"),
}


def furnish() -> None:
    """One row of each table, published."""
    provider, spare = make_provider("openai"), make_provider("spare", kind="anthropic")
    make_route("gpt-*", provider, {"provider": spare, "tier": 1})
    make_route("*", provider)
    key = make_key("crew", label="app", allowed_models=["gpt-*"], expires_at=datetime(2080, 1, 1, tzinfo=UTC))
    Limit.objects.create(team=key.row.team, kind="requests", amount=10)
    Budget.objects.create(key=key.row, amount=5)
    CatalogueModel.objects.update_or_create(
        kind="openai", name="gpt-4o", defaults={"input_price": 2, "output_price": 8, "overridden": True}
    )
    publish("olga", "first", leave=Leave())


def replaced() -> None:
    """The secret, by one that ends in the same letters."""
    row = Credential.objects.get(provider__kind="openai")
    Credential.objects.filter(pk=row.pk).update(sealed=vault().seal(SECRET, row.provider_id))


def secret() -> str:
    """In force."""
    row = Credential.objects.get(provider__kind="openai")
    return vault().open(row.sealed, row.provider_id)


def targets() -> int:
    """Of the common route."""
    return Target.objects.filter(route__pattern="gpt-*").count()


def post(client: Client, where: str, pk: Any, **values: Any) -> Any:
    url = page(where, pk)
    form = {**form_of(client, url), **values}
    return client.post(url, {key: value for key, value in form.items() if value is not None})


def waiting() -> Draft:
    (found,) = Approval.objects.filter(state="asked")
    assert latest() == 1, "something was published"
    draft: Draft = found.draft
    return draft


def approved(draft: Draft, author: str, by: User) -> None:
    """By somebody else at the management API; and the author cannot."""
    client = Client()
    mine = User.objects.filter(username=author).first()
    tag = ask(client, "GET", f"drafts/{draft.pk}", bearer(by))["etag"]
    if mine is not None:
        own = ask(client, "POST", f"drafts/{draft.pk}/approve", {**bearer(mine), "if-match": tag})
        assert own.status_code in (403, 409), own.content
        assert latest() == 1
    done = ask(client, "POST", f"drafts/{draft.pk}/approve", {**bearer(by), "if-match": tag})
    assert done.status_code == 200, done.content
    revision = Revision.objects.get(number=latest())
    assert (revision.number, revision.author, revision.approved_by) == (2, author, by.username)
    told = AuditEntry.objects.filter(object=f"approval of {draft}").values_list("action", "author")
    assert [("asked", author), ("approved", by.username)] == sorted(told, reverse=True)
