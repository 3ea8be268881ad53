"""Rows of the ledger: a request, its attempts, sums of a day, and who writes them.

Names and numbers of teams, keys and providers are copies and not references: what was spent stays on record
when a team is gone. Money is in whole nano-dollars, times are in milliseconds. No prompt, answer or secret is
in any of them.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q

STATES = (
    ("reserved", "reserved: under way"),
    ("settled", "settled: as the provider counted"),
    ("estimated", "estimated: the provider did not count"),
    ("released", "released: nothing was used"),
    ("orphaned", "orphaned: its process died, charged as reserved"),
)
SOURCES = (
    ("", "nothing used"),
    ("provider", "the provider"),
    ("estimated", "an estimate"),
    ("reservation", "the reservation"),
)
ENDED = tuple(word for word, _ in STATES if word != "reserved")


def _among(field: str, choices: tuple[tuple[str, str], ...], name: str) -> models.CheckConstraint:
    return models.CheckConstraint(condition=Q(**{f"{field}__in": [word for word, _ in choices]}), name=name)


class RequestEntry(models.Model):
    """One request: reserved before a provider is asked, ended once.

    `process`: whose it is while it is reserved. `rate_*`: the prices that were used, in pico-dollars per
    token (a dollar per million tokens is 1,000,000), None where unknown; `revision`: the configuration they
    are from. `cost`: None where a price was unknown. `saved`: what a cached answer would have cost. `flags`:
    words with commas between, see docs/ledger.md. `trace_id`: of the trace that the call was a part of, ""
    where there was none, or the process died.
    """

    request_id = models.CharField(max_length=64)
    at = models.DateTimeField("time", help_text="When the call was let in.")
    state = models.CharField(max_length=9, choices=STATES)
    process = models.CharField(max_length=32)

    surface = models.CharField(max_length=32)
    team_id = models.BigIntegerField()
    team = models.CharField(max_length=100)
    key_id = models.BigIntegerField()
    key = models.CharField(max_length=16)
    model = models.CharField(max_length=200)
    stream = models.BooleanField(default=False)
    route = models.CharField(max_length=200, blank=True, default="")
    provider = models.CharField(max_length=100, blank=True, default="")
    upstream_model = models.CharField(max_length=200, blank=True, default="")
    revision = models.BigIntegerField(default=0)

    status = models.IntegerField(default=0)
    code = models.CharField(max_length=100, blank=True, default="")
    outcome = models.CharField(max_length=12, blank=True, default="")

    reserved_input = models.BigIntegerField(default=0)
    reserved_output = models.BigIntegerField(default=0)
    reserved_cost = models.BigIntegerField(null=True, default=None)

    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cache_read = models.BigIntegerField(default=0)
    cache_write = models.BigIntegerField(default=0)
    reasoning = models.BigIntegerField(default=0)
    usage_source = models.CharField(max_length=11, choices=SOURCES, blank=True, default="")
    cost = models.BigIntegerField(null=True, default=0)
    rate_input = models.BigIntegerField(null=True, default=None)
    rate_output = models.BigIntegerField(null=True, default=None)
    rate_cache_read = models.BigIntegerField(null=True, default=None)
    rate_cache_write = models.BigIntegerField(null=True, default=None)

    ttft_ms = models.BigIntegerField("time to first token", null=True, default=None)
    total_ms = models.BigIntegerField(default=0)
    queue_ms = models.BigIntegerField(default=0)
    upstream_ms = models.BigIntegerField(default=0)

    cache = models.CharField(max_length=12, blank=True, default="")
    saved = models.BigIntegerField(null=True, default=None)
    tries = models.IntegerField("attempts", default=0)
    dropped = models.CharField(max_length=1000, blank=True, default="")
    possible_double_bill = models.BooleanField(default=False)
    flags = models.CharField(max_length=100, blank=True, default="")
    trace_id = models.CharField("trace", max_length=32, blank=True, default="", db_default="")

    class Meta:
        verbose_name = "request"
        ordering = ("-at", "-id")
        indexes = (
            models.Index(fields=("at", "id"), name="request_latest"),
            models.Index(fields=("team_id", "at", "id"), name="request_team"),
            models.Index(fields=("key_id", "at", "id"), name="request_key"),
            models.Index(fields=("model", "at", "id"), name="request_model"),
            models.Index(fields=("provider", "at", "id"), name="request_provider"),
            # What is as it should be is nearly all, and nobody looks for it: the rest has indexes of its own.
            models.Index(
                fields=("outcome", "at", "id"), condition=~Q(outcome="ok"), name="request_outcome_bad"
            ),
            models.Index(fields=("status", "at", "id"), condition=~Q(status=200), name="request_status_bad"),
            models.Index(fields=("code", "at", "id"), condition=~Q(code=""), name="request_code_some"),
            models.Index(
                fields=("state", "at", "id"), condition=~Q(state="settled"), name="request_state_odd"
            ),
        )
        constraints = (
            # Not by the field, which would have a second index for LIKE on PostgreSQL.
            models.UniqueConstraint(fields=("request_id",), name="request_once"),
            models.CheckConstraint(condition=~Q(request_id=""), name="request_has_an_id"),
            _among("state", STATES, "request_state_is_known"),
            _among("usage_source", SOURCES, "request_source_is_known"),
            models.CheckConstraint(
                condition=Q(input_tokens__gte=0)
                & Q(output_tokens__gte=0)
                & (Q(cost__isnull=True) | Q(cost__gte=0)),
                name="request_charges_are_not_negative",
            ),
        )

    def __str__(self) -> str:
        return self.request_id


class AttemptEntry(models.Model):
    """One try at one target: reserved before it is sent, ended with its request. `credential_id`: None while
    it is under way, without a credential, and of versions that did not say it."""

    # Retention deletes in the database, attempts first.
    request = models.ForeignKey(RequestEntry, models.CASCADE, related_name="attempts", db_index=False)
    number = models.IntegerField()
    state = models.CharField(max_length=9, choices=STATES)
    provider = models.CharField(max_length=100)
    upstream_model = models.CharField(max_length=200)
    credential = models.CharField(max_length=100, blank=True, default="")
    reason = models.CharField(max_length=100, blank=True, default="")
    outcome = models.CharField(max_length=100, blank=True, default="")
    fault = models.CharField(max_length=32, blank=True, default="")
    status = models.IntegerField(null=True, default=None)
    upstream_request_id = models.CharField(max_length=128, blank=True, default="")
    ms = models.BigIntegerField(default=0)
    credential_id = models.BigIntegerField(null=True, default=None)

    class Meta:
        verbose_name = "attempt"
        ordering = ("request", "number")
        constraints = (
            models.UniqueConstraint(fields=("request", "number"), name="attempt_once"),
            _among("state", STATES, "attempt_state_is_known"),
        )

    def __str__(self) -> str:
        return f"{self.number}: {self.provider}"


class CredentialUse(models.Model):
    """When a provider's credential was used: by the first attempt that was seen to end, and by the last, some
    seconds rounded off. Kept when requests are deleted."""

    credential_id = models.BigIntegerField(unique=True)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        verbose_name = "use of a credential"
        verbose_name_plural = "uses of credentials"

    def __str__(self) -> str:
        return f"{self.credential_id}: {self.last_at}"


class _Sums(models.Model):
    """What ended requests come to.

    `errors`: outcome error; `gone`: the client left; `unpriced`: cost unknown, and not in `cost`; `*_ms`
    are sums over all requests, `ttft_ms` over the `ttft_count` that had a first token. `ok_N`: how many ended
    well within N milliseconds, and not within the bound before it.
    """

    requests = models.BigIntegerField(default=0)
    errors = models.BigIntegerField(default=0)
    gone = models.BigIntegerField(default=0)
    estimated = models.BigIntegerField(default=0)
    orphaned = models.BigIntegerField(default=0)
    unpriced = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cache_read = models.BigIntegerField(default=0)
    cache_write = models.BigIntegerField(default=0)
    reasoning = models.BigIntegerField(default=0)
    cost = models.BigIntegerField(default=0)
    cache_hits = models.BigIntegerField(default=0)
    saved = models.BigIntegerField(default=0)
    total_ms = models.BigIntegerField(default=0)
    upstream_ms = models.BigIntegerField(default=0)
    ttft_ms = models.BigIntegerField(default=0)
    ttft_count = models.BigIntegerField(default=0)

    # With a default of the database's own: an older version that still writes does not know them.
    ok_50 = models.BigIntegerField(default=0, db_default=0)
    ok_100 = models.BigIntegerField(default=0, db_default=0)
    ok_200 = models.BigIntegerField(default=0, db_default=0)
    ok_350 = models.BigIntegerField(default=0, db_default=0)
    ok_500 = models.BigIntegerField(default=0, db_default=0)
    ok_750 = models.BigIntegerField(default=0, db_default=0)
    ok_1000 = models.BigIntegerField(default=0, db_default=0)
    ok_1500 = models.BigIntegerField(default=0, db_default=0)
    ok_2000 = models.BigIntegerField(default=0, db_default=0)
    ok_3000 = models.BigIntegerField(default=0, db_default=0)
    ok_5000 = models.BigIntegerField(default=0, db_default=0)
    ok_8000 = models.BigIntegerField(default=0, db_default=0)
    ok_12000 = models.BigIntegerField(default=0, db_default=0)
    ok_20000 = models.BigIntegerField(default=0, db_default=0)
    ok_30000 = models.BigIntegerField(default=0, db_default=0)
    ok_60000 = models.BigIntegerField(default=0, db_default=0)
    ok_120000 = models.BigIntegerField(default=0, db_default=0)
    ok_300000 = models.BigIntegerField(default=0, db_default=0)
    ok_more = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        abstract = True


class UsageDay(_Sums):
    """Sums of the requests of one day (UTC) that have ended, for each key, model and provider. Changed in the
    transaction that ends a request, and kept when requests are deleted."""

    day = models.DateField()
    team_id = models.BigIntegerField()
    team = models.CharField(max_length=100)
    key_id = models.BigIntegerField()
    key = models.CharField(max_length=16)
    model = models.CharField(max_length=200)
    provider = models.CharField(max_length=100, blank=True)

    class Meta:
        verbose_name = "day of usage"
        verbose_name_plural = "days of usage"
        ordering = ("-day", "team", "key", "model", "provider")
        constraints = (
            # Names are part of it: who renames a team sees under which name it spent what.
            models.UniqueConstraint(
                fields=("day", "team_id", "key_id", "model", "provider", "team", "key"), name="usage_day_once"
            ),
        )
        indexes = (
            # Rows of a day lie beside each other, which PostgreSQL sees by this one, and not by the first
            # column of the constraint's: without it a week is looked for in the whole table.
            models.Index(fields=("day",), name="usage_day_day"),
            models.Index(fields=("team_id", "day"), name="usage_day_team"),
            models.Index(fields=("key_id", "day"), name="usage_day_key"),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.team} {self.model}"


class UsageFold(_Sums):
    """The same of days that are over, without keys: where a team has a hundred, a hundredth of the rows. Made
    of UsageDay in the background, oldest day first; up to the last day that is here it has all of them."""

    day = models.DateField()
    team_id = models.BigIntegerField()
    team = models.CharField(max_length=100)
    model = models.CharField(max_length=200)
    provider = models.CharField(max_length=100, blank=True)

    class Meta:
        verbose_name = "folded day of usage"
        verbose_name_plural = "folded days of usage"
        constraints = (
            models.UniqueConstraint(
                fields=("day", "team_id", "model", "provider", "team"), name="usage_fold_once"
            ),
        )
        indexes = (
            # As those of UsageDay.
            models.Index(fields=("day",), name="usage_fold_day"),
            models.Index(fields=("team_id", "day"), name="usage_fold_team"),
        )

    def __str__(self) -> str:
        return f"{self.day} {self.team} {self.model}"


class LedgerProcess(models.Model):
    """A process that writes. Others take it for dead when its `beat` has not changed for some time."""

    name = models.CharField(primary_key=True, max_length=32)
    host = models.CharField(max_length=100)
    pid = models.IntegerField()
    beat = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = "process of the ledger"
        verbose_name_plural = "processes of the ledger"

    def __str__(self) -> str:
        return f"{self.host} {self.pid}"


class LedgerCut(models.Model):
    """Requests of days before `before` were deleted: of a team, or (`team_id` 0) of all. They are not
    compared with the sums, and where all were deleted none is written again."""

    team_id = models.BigIntegerField(primary_key=True)
    before = models.DateField()

    class Meta:
        verbose_name = "cut of the ledger"
        verbose_name_plural = "cuts of the ledger"

    def __str__(self) -> str:
        return f"{self.team_id or 'all'} before {self.before}"
