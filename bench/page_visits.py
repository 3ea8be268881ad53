"""Visits every list and every page that adds up, as an admin who sees all and as members of few and of many
teams, and writes down what each took. A child of bench.pages, in whose environment the database is."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import cast

from django.apps import apps as installed
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection, reset_queries
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.apps import hasher
from accounts.ledger.rows import RequestEntry
from accounts.models import AuditEntry, Capture
from accounts.tokens import new_token
from bench.page_rows import Amounts, fill
from console.apps import ConsoleConfig, Running
from providers.apps import vault
from routing.loader import build_snapshot
from routing.models import Revision
from routing.plan import CALM

_TIMES = 2
_BASE = "/manage/v1/"


@dataclass(frozen=True, slots=True)
class Visit:
    """One page: seconds of the slower of two visits, in all and in the database; queries and kilobytes."""

    who: str
    page: str
    status: int
    seconds: float
    database: float
    queries: int
    kilobytes: int
    slowest: str


def lists() -> Iterator[str]:
    """Every list of the admin: plain, a page far down, by each of its columns, and searched."""
    admin.autodiscover()
    for model, page in sorted(admin.site._registry.items(), key=lambda pair: pair[0]._meta.label):
        address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        yield address
        yield f"{address}?p=100"
        for place in range(1, len(page.list_display) + 1):
            yield f"{address}?o=-{place}"
        if page.search_fields:
            yield f"{address}?q=model-0500"
            yield f"{address}?q=no+such+thing"


def filtered() -> Iterator[str]:
    """Lists by their filters; a day in the middle."""
    row = RequestEntry.objects.order_by("-at")[100]
    day = f"{row.at.date() - timedelta(days=40)}"
    requests = reverse("admin:accounts_requestentry_changelist")
    for query in (
        f"team={row.team_id}",
        f"key={row.key_id}",
        f"model={row.model}",
        f"provider={row.provider}",
        "outcome=error",
        "outcome=ok",
        "status=503",
        "status=200",
        "code=overloaded",
        "code=never_seen",
        "state=released",
        "state=settled",
        f"day={day}",
        "day=31",
        f"from={day}T00:00&until={day}T01:00",
        f"team={row.team_id}&outcome=error",
        f"team={row.team_id}&model={row.model}",
        f"model={row.model}&provider=none-such",
        f"team={row.team_id}&provider=none-such",
        f"team={row.team_id}&model=none-such",
        f"key={row.key_id}&status=503&day={day}",
        f"q={row.request_id}",
        f"team={row.team_id}&p=100",
    ):
        yield f"{requests}?{query}"
    sums = reverse("admin:accounts_usageday_changelist")
    for query in (f"team={row.team_id}", f"key={row.key_id}", f"model={row.model}", "day=31", f"day={day}"):
        yield f"{sums}?{query}"
    for name, query in (
        ("accounts_auditentry", "author=user-7"),
        ("accounts_auditentry", "action__exact=added&via__exact=api"),
        ("accounts_auditentry", "q=ticket+77777"),
        ("accounts_apikey", "state=active"),
        ("accounts_apikey", f"team__id__exact={row.team_id}"),
        ("routing_route", f"team__id__exact={row.team_id}"),
        ("routing_translationloss", "model=model-0500"),
        ("routing_translationloss", "refused__exact=1"),
        ("routing_semanticevent", f"team={row.team_id}"),
        ("routing_revision", "author=user-7"),
        ("accounts_capture", "surface=chat"),
    ):
        yield f"{reverse(f'admin:{name}_changelist')}?{query}"


def usages() -> Iterator[str]:
    """The page of usage, by each group, of spans and of one team, key, model and provider."""
    row = RequestEntry.objects.order_by("-at")[100]
    page = reverse("admin:accounts_usageday_usage")
    first = datetime.now(UTC).date() - timedelta(days=91)
    yield page
    for by in ("team", "key", "model", "provider"):
        yield f"{page}?by={by}"
        yield f"{page}?by={by}&first={first}"
    for query in (
        f"team={row.team_id}",
        f"key={row.key_id}",
        f"model={row.model}",
        f"provider={row.provider}",
    ):
        yield f"{page}?{query}"
        yield f"{page}?{query}&first={first}"
    yield f"{page}?measure=errors&first={first}"
    yield reverse("admin:accounts_usageday_export")
    yield reverse("admin:accounts_requestentry_export")


def others() -> Iterator[str]:
    """Pages of one row, and those of the console."""
    row = RequestEntry.objects.order_by("-at")[100]
    change = {
        "accounts_requestentry": row.pk,
        "accounts_apikey": row.key_id,
        "accounts_team": row.team_id,
        "accounts_limit": 1,
        "accounts_budget": 1,
        "accounts_auditentry": AuditEntry.objects.order_by("-id")[0].pk,
        "accounts_capture": Capture.objects.order_by("-id")[0].pk,
        "routing_revision": Revision.objects.order_by("-number")[0].pk,
        "routing_route": 500,
        "providers_provider": 1,
        "auth_user": User.objects.get(username="manager").pk,
    }
    yield from (reverse(f"admin:{name}_change", args=(pk,)) for name, pk in change.items())
    yield from (
        reverse(f"admin:{name}_add") for name in ("accounts_apikey", "accounts_limit", "routing_route")
    )
    yield from map(reverse, ("admin:index", "live", "explain", "lint", "drill", "playground"))
    yield f"{reverse('explain')}?request={row.request_id}"
    yield f"{reverse('explain')}?request={row.request_id}&revision=2"
    yield f"{reverse('explain')}?model={row.model}&key={row.key_id}"
    auto = reverse("admin:autocomplete")
    yield f"{auto}?app_label=accounts&model_name=limit&field_name=key&term=service"
    yield f"{auto}?app_label=accounts&model_name=limit&field_name=team"


def managed() -> Iterator[str]:
    """Lists and sums of the management API."""
    row = RequestEntry.objects.order_by("-at")[100]
    first = datetime.now(UTC).date() - timedelta(days=91)
    tables = ("providers", "routes", "teams", "limits", "budgets", "prices", "keys", "revisions", "drafts")
    for name in (
        *tables,
        "requests",
        "audit",
        "breakers",
        "measures",
        "lint",
        "config",
        "usage",
        "usage.csv",
    ):
        yield f"{_BASE}{name}"
    for name in ("routes", "keys", "limits"):
        yield f"{_BASE}{name}?after=900&limit=200"
    yield f"{_BASE}lint?skip=400&limit=200"
    yield f"{_BASE}requests/{row.request_id}"
    old = RequestEntry.objects.order_by("at")[1000].request_id
    for query in (
        f"team={row.team_id}",
        f"key={row.key_id}",
        f"model={row.model}",
        "status=503",
        "status=200",
        "outcome=ok",
        "state=settled",
        "outcome=none",
        f"team={row.team_id}&provider=none",
        f"before={old}",
        "limit=200",
    ):
        yield f"{_BASE}requests?{query}"
    for query in ("author=user-7", "via=api", "action=added", "author=user-7&action=none", "before=50"):
        yield f"{_BASE}audit?{query}"
    for by in ("team", "key", "model", "provider"):
        yield f"{_BASE}usage?by={by}&first={first}"
    yield f"{_BASE}usage?team={row.team_id}&by=key"
    yield f"{_BASE}keys/{row.key_id}"
    yield f"{_BASE}revisions/2"


class Visitor:
    """A logged in user, or one with a token at the management API."""

    def __init__(self, name: str) -> None:
        self._name = name
        user = User.objects.get(username=name)
        self._client = Client()
        self._client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        self._token = new_token(user, hasher())[1]

    def visit(self, page: str) -> Visit:
        """Twice, the slower of both."""
        headers = {"authorization": f"Bearer {self._token}"} if page.startswith(_BASE) else {}
        found = [self._once(page, headers) for _ in range(_TIMES)]
        return max(found, key=lambda each: each.seconds)

    def _once(self, page: str, headers: dict[str, str]) -> Visit:
        # The API's rate is not what is measured.
        cache.clear()
        # Of so many queries it keeps the last ones, and none that are counted from its beginning.
        reset_queries()
        with CaptureQueriesContext(connection) as asked:
            began = perf_counter()
            reply = self._client.get(page, headers=headers)
            taken = perf_counter() - began
        times = [float(each["time"]) for each in asked]
        slowest = max(asked, key=lambda each: float(each["time"]), default={"sql": ""})["sql"]
        size = 0 if reply.streaming else len(reply.content) // 1024
        return Visit(self._name, page, reply.status_code, taken, sum(times), len(times), size, slowest[:2000])


def visits() -> Iterator[Visit]:
    """Everything as root; as members of teams what they may see."""
    pages = [*lists(), *filtered(), *usages(), *others(), *managed()]
    for name in ("root", "manager", "member"):
        visitor = Visitor(name)
        for page in pages:
            found = visitor.visit(page)
            # A page that somebody may not see answers at once, and says nothing; nor does a sum of 302.
            if found.status not in (302, 403, 404):
                yield found


def main(words: Sequence[str]) -> int:
    """`fill N`: fill. `visit`: a line of JSON for each page."""
    logging.disable()
    warnings.simplefilter("ignore")
    if words[0] == "fill":
        fill(Amounts(int(words[1])))
        return 0
    snapshot = build_snapshot(vault())
    console = cast(ConsoleConfig, installed.get_app_config("console"))
    # As in a process that serves calls, which has the configuration in memory.
    console.running = Running(lambda: snapshot, CALM, lambda asks: [None] * len(asks))
    for each in visits():
        print(json.dumps(asdict(each)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
