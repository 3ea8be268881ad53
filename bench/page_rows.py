"""Fills a PostgreSQL database with what a large gateway has after three months: configuration by Django, the
ledger and what else grows with calls by SQL, whose rows are the same in every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import connection, transaction

from accounts.apps import hasher
from accounts.ledger.folding import fold_next
from accounts.ledger.rows import AttemptEntry, RequestEntry, UsageDay
from accounts.ledger.sums import KEY, SUMS, grouped
from accounts.models import ApiKey, Budget, Limit, Team, TeamMember
from providers.apps import vault
from providers.models import Credential, Provider
from routing.models import Revision, Route, Target
from routing.revisions import publish

DAYS = 90
KEYS, ROUTES, PROVIDERS, TEAMS = 10_000, 1_000, 100, 120
REVISIONS = 5_000
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many rows of what grows with calls."""

    requests: int
    audit: int = 200_000
    losses: int = 200_000
    hits: int = 100_000
    captures: int = 50_000
    owned: int = 50_000
    logins: int = 100_000


def configure() -> None:
    """Providers, routes, teams, keys, limits, budgets, users, and the revisions that they came by."""
    with transaction.atomic():
        providers = Provider.objects.bulk_create(
            Provider(name=f"provider-{n:03d}", kind="openai_compatible", base_url=f"https://p{n}.example/v1")
            for n in range(PROVIDERS)
        )
        sealed = [vault().seal("sk-bench-secret", each.pk) for each in providers]
        Credential.objects.bulk_create(
            Credential(provider=each, sealed=secret, last4="cret")
            for each, secret in zip(providers, sealed, strict=True)
        )
        teams = Team.objects.bulk_create(Team(name=f"team-{n:03d}") for n in range(TEAMS))
        routes = Route.objects.bulk_create(
            Route(name=f"model-{n:04d}", pattern=f"model-{n:04d}", team=teams[n % TEAMS] if n % 3 else None)
            for n in range(ROUTES)
        )
        Target.objects.bulk_create(
            Target(route=each, provider=providers[(n + place) % PROVIDERS], tier=place)
            for n, each in enumerate(routes)
            for place in range(2)
        )
        keys = ApiKey.objects.bulk_create(
            (
                ApiKey(
                    team=teams[n % TEAMS],
                    label=f"service {n}",
                    prefix=f"sk-gw-{n:06d}",
                    digest=hasher().digest(f"sk-gw-{n:032d}").hex(),
                )
                for n in range(KEYS)
            ),
            _BATCH,
        )
        Limit.objects.bulk_create(
            [Limit(team=each, kind="requests", amount=1000, per="minute") for each in teams]
            + [Limit(key=each, kind="tokens", amount=100_000, per="minute") for each in keys[::5]]
        )
        Budget.objects.bulk_create(
            [Budget(team=each, amount=1000, unit="usd", period="month") for each in teams]
            + [Budget(key=each, amount=100, unit="usd", period="month") for each in keys[::10]]
        )
        publish("bench", "filled", [{"object": "all of it", "action": "added", "fields": {}}])
    _people(teams)
    now = datetime.now(UTC)
    Revision.objects.bulk_create(
        Revision(
            number=number,
            created=now - timedelta(minutes=20 * (REVISIONS - number)),
            author=f"user-{number % 40}",
            reason=f"route model-{number % ROUTES:04d} changed",
            summary=[{"object": f"route model-{number % ROUTES:04d}", "action": "changed", "fields": {}}],
        )
        for number in range(2, REVISIONS)
    )


def _people(teams: list[Team]) -> None:
    """`root`, who sees all; `member` and `manager`, who see their teams' rows: two, and all but ten."""
    User.objects.create_superuser("root")
    role = Group.objects.get(name="viewer")
    for name, count in (("member", 2), ("manager", len(teams) - 10)):
        user = User.objects.create(username=name, is_staff=True)
        user.groups.add(role)
        TeamMember.objects.bulk_create(TeamMember(user=user, team=team) for team in teams[:count])


def fill(amounts: Amounts) -> None:
    """Migrate, and all rows. Some keys, models and hours have much more of them than others."""
    call_command("migrate", verbosity=0)
    configure()
    with connection.cursor() as cursor:
        _ledger(cursor, amounts.requests)
        for table, count, columns in (
            ("accounts_auditentry", amounts.audit, _AUDIT),
            ("routing_translationloss", amounts.losses, _LOSSES),
            ("routing_semanticevent", amounts.hits, _HITS),
            ("accounts_capture", amounts.captures, _CAPTURES),
            ("routing_ownedobject", amounts.owned, _OWNED),
            ("axes_accesslog", amounts.logins, _LOGINS),
        ):
            _insert(cursor, table, count, columns)
        cursor.execute("VACUUM ANALYZE")


def _ledger(cursor: Any, count: int) -> None:
    """The indexes are made when the rows are there, which takes a third of the time."""
    indexes = [(model, index) for model in (RequestEntry, UsageDay) for index in model._meta.indexes]
    with connection.schema_editor() as editor:
        for model, index in indexes:
            editor.remove_index(model, index)
    cursor.execute(_DRAWN.replace("COUNT", f"{count:d}"))
    _insert_from(cursor, "accounts_requestentry", _REQUEST, "drawn ORDER BY ago DESC")
    _insert_from(cursor, AttemptEntry._meta.db_table, _ATTEMPT, "accounts_requestentry r")
    # As they come: a day's rows lie beside each other.
    inner, values = grouped(RequestEntry.objects.all()).order_by("day").query.sql_with_params()
    names = ", ".join((*KEY, *SUMS))
    cursor.execute(f"INSERT INTO {UsageDay._meta.db_table} ({names}) {inner}", values)
    cursor.execute("DROP TABLE drawn")
    with connection.schema_editor() as editor:
        for model, index in indexes:
            editor.add_index(model, index)
    cursor.execute(f"ANALYZE {UsageDay._meta.db_table}")
    # As gateways do it in the background.
    while fold_next():
        continue


def _insert(cursor: Any, table: str, count: int, columns: Mapping[str, str]) -> None:
    _insert_from(cursor, table, columns, f"generate_series(1, {count:d}) n")


def _insert_from(cursor: Any, table: str, columns: Mapping[str, str], source: str) -> None:
    names, values = ", ".join(f'"{name}"' for name in columns), ", ".join(columns.values())
    cursor.execute(f"INSERT INTO {table} ({names}) SELECT {values} FROM {source}")  # noqa: S608 - our own text


# What the rest is made of: each request's key, model and age in seconds. Half of the calls are those of one
# key in twelve; a team uses eight models, a key two of them. The draws are the same in every run.
_DRAWN = f"""CREATE UNLOGGED TABLE drawn AS
SELECT n, k, k % {TEAMS} AS t, (k % {TEAMS} * 8 + (k / {TEAMS} + (n % 3) / 2) % 8) % {ROUTES} AS m,
    ((n::bigint * 7919) % {DAYS * 86_400})::bigint AS ago, (n::bigint * 48271 % 2147483647) AS d
FROM (SELECT n, ((n::bigint * 69621 % 2147483647)
    % (CASE WHEN n % 2 = 0 THEN {KEYS // 12} ELSE {KEYS} END))::int AS k
    FROM generate_series(1, COUNT) n) x"""  # noqa: S608 - our own numbers
_NUMBER = {
    "key": "(SELECT min(id) FROM accounts_apikey)",
    "team": "(SELECT min(id) FROM accounts_team)",
    "provider": "(SELECT min(id) FROM providers_provider)",
    "route": "(SELECT min(id) FROM routing_route)",
}
_BAD = "d % 50 = 0"
_REQUEST = {
    "request_id": "'req_' || md5(n::text)",
    "at": "now() - make_interval(secs => ago)",
    "state": f"CASE WHEN {_BAD} THEN 'released' WHEN d % 40 = 1 THEN 'estimated' ELSE 'settled' END",
    "process": "'bench'",
    "surface": "CASE WHEN d % 10 < 7 THEN 'chat' ELSE 'messages' END",
    "team_id": f"{_NUMBER['team']} + t",
    "team": "'team-' || lpad(t::text, 3, '0')",
    "key_id": f"{_NUMBER['key']} + k",
    "key": "'sk-gw-' || lpad(k::text, 6, '0')",
    "model": "'model-' || lpad(m::text, 4, '0')",
    "stream": "d % 2 = 0",
    "route": "'model-' || lpad(m::text, 4, '0')",
    "provider": f"'provider-' || lpad((m % {PROVIDERS})::text, 3, '0')",
    "upstream_model": "'model-' || lpad(m::text, 4, '0')",
    "revision": f"{REVISIONS - 1}",
    "status": f"CASE WHEN {_BAD} THEN 503 ELSE 200 END",
    "code": f"CASE WHEN {_BAD} THEN 'overloaded' ELSE '' END",
    "outcome": f"CASE WHEN {_BAD} THEN 'error' WHEN d % 90 = 7 THEN 'client_gone' ELSE 'ok' END",
    "reserved_input": "d % 3000",
    "reserved_output": "1000",
    "reserved_cost": "5000000",
    "input_tokens": f"CASE WHEN {_BAD} THEN 0 ELSE d % 3000 END",
    "output_tokens": f"CASE WHEN {_BAD} THEN 0 ELSE d % 700 END",
    "cache_read": "0",
    "cache_write": "0",
    "reasoning": "0",
    "usage_source": f"CASE WHEN {_BAD} THEN '' ELSE 'provider' END",
    "cost": f"CASE WHEN {_BAD} THEN 0 ELSE (d % 3000) * 1000 + (d % 700) * 4000 END",
    "rate_input": "1000000",
    "rate_output": "4000000",
    "ttft_ms": "d % 900",
    "total_ms": "200 + d % 9000",
    "queue_ms": "0",
    "upstream_ms": "190 + d % 9000",
    "cache": "''",
    "tries": "1",
    "dropped": "''",
    "possible_double_bill": "false",
    "flags": "''",
    "trace_id": "''",
}
_ATTEMPT = {
    "request_id": "r.id",
    "number": "1",
    "state": "r.state",
    "provider": "r.provider",
    "upstream_model": "r.upstream_model",
    "credential": "'default'",
    "reason": "''",
    "outcome": "r.outcome",
    "fault": "''",
    "status": "r.status",
    "upstream_request_id": "md5(r.id::text)",
    "ms": "r.upstream_ms",
}
_AGO = f"now() - make_interval(secs => (n::bigint * 7919) % {DAYS * 86_400})"
_AUDIT = {
    "at": _AGO,
    "author": "'user-' || n % 400",
    "via": "(ARRAY['admin', 'api', 'process'])[1 + n % 3]",
    "token": "''",
    "action": "(ARRAY['changed', 'added', 'deleted', 'logged in', 'login failed', 'looked at'])[1 + n % 6]",
    "object": f"'route model-' || lpad((n % {ROUTES})::text, 4, '0')",
    "reason": "'ticket ' || n",
    "changes": """'{"priority": [0, 1]}'::jsonb""",
    "revision": f"1 + n % {REVISIONS - 1}",
}
_LOSSES = {
    "day": f"current_date - (n / {ROUTES * 30})::int",
    "route": f"'model-' || lpad((n % {ROUTES})::text, 4, '0')",
    "provider": f"'provider-' || lpad((n % {PROVIDERS})::text, 3, '0')",
    "surface": "(ARRAY['chat', 'messages'])[1 + n % 2]",
    "model": f"'model-' || lpad((n % {ROUTES})::text, 4, '0')",
    "field": f"'field_' || (n / {ROUTES} % 30)",
    "refused": "n % 9 = 0",
    "count": "n % 70",
    "last_seen": _AGO,
}
_HITS = {
    "at": _AGO,
    "kind": "(ARRAY['kept', 'hit', 'shadow'])[1 + n % 3]",
    "request_id": "'req_' || md5(n::text)",
    "team": f"{_NUMBER['team']} + n % {TEAMS}",
    "route": f"{_NUMBER['route']} + n % {ROUTES}",
    "model": f"'model-' || lpad((n % {ROUTES})::text, 4, '0')",
    "embedder": "'local'",
    "entry": "md5((n / 3)::text)",
    "question": "md5(n::text)",
    "similarity": "0.9",
    "threshold": "0.85",
    "prompt": "CASE WHEN n % 2 = 0 THEN 'How long is the Nile?' ELSE '' END",
}
_CAPTURES = {
    "request_id": "'req_' || md5(n::text)",
    "team_id": f"{_NUMBER['team']} + n % {TEAMS}",
    "at": _AGO,
    "surface": "'chat'",
    "status": "200",
    "cached": "n % 9 = 0",
    "cut": "false",
    "sealed": "repeat(md5(n::text), 100)",
}
_OWNED = {
    "kind": "'file'",
    "upstream_id": "'file-' || n",
    "provider_id": f"{_NUMBER['provider']} + n % {PROVIDERS}",
    "team_id": f"{_NUMBER['team']} + n % {TEAMS}",
    "key_id": f"{_NUMBER['key']} + n % {KEYS}",
    "created": _AGO,
    "shown": """'{"filename": "notes.txt", "bytes": 100}'::jsonb""",
}
_LOGINS = {
    "user_agent": "'browser'",
    "username": "'user-' || n % 400",
    "http_accept": "''",
    "session_hash": "''",
    "path_info": "'/admin/login/'",
    "attempt_time": _AGO,
}
