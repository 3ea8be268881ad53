"""Rows of how much may be used: limits in a window of time, and budgets for a period."""

from __future__ import annotations

from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator, URLValidator
from django.db import models
from django.db.models import Q

MODEL_ENTRY = RegexValidator(
    r"\A[^\s*]*\*?\Z",
    "An entry is a model name, or a prefix that ends in one star such as gpt-*.",
    # Under the code "invalid" the field would put its own words in place of these.
    code="entry",
)
PRIORITIES = (("high", "high"), ("normal", "normal"), ("low", "low: shed first"))
LIMIT_KINDS = (
    ("requests", "requests"),
    ("tokens", "tokens: input and output"),
    ("concurrency", "requests at the same time"),
)
WINDOWS = (("minute", "minute"), ("hour", "hour"), ("day", "day"))
UNITS = (("usd", "US dollars"), ("tokens", "tokens"))
PERIODS = (("day", "day"), ("week", "week, from Monday"), ("month", "month"), ("total", "in total"))
# Numbers in Lua are exact up to 2^53: so many tokens, or nano-dollars in nine million dollars.
MAX_AMOUNT = 9_000_000_000_000
MAX_USD = 9_000_000
# As long as an answer's first byte may take; whoever waits longer has left.
MAX_WAIT_SECONDS = 600


def _known(field: str, choices: tuple[tuple[str, str], ...], name: str) -> models.CheckConstraint:
    return models.CheckConstraint(condition=Q(**{f"{field}__in": [word for word, _ in choices]}), name=name)


class Scoped(models.Model):
    """A row for one team, one key, or, with neither, for everybody together."""

    team = models.ForeignKey(
        "accounts.Team",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="%(class)ss",
        help_text="All keys of the team together. Neither team nor key: everybody together.",
    )
    key = models.ForeignKey(
        "accounts.ApiKey",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="%(class)ss",
        help_text="This key alone.",
    )

    class Meta:
        abstract = True

    @property
    def whose(self) -> str:
        """Of whom it is, in words."""
        if self.key_id is not None:
            return f"key {self.key}"
        return "everybody" if self.team_id is None else f"team {self.team}"

    def clean(self) -> None:
        """One owner at most."""
        super().clean()
        if self.team_id is not None and self.key_id is not None:
            raise ValidationError("Either a team or a key, not both: a key's team has rows of its own.")


class Limit(Scoped):
    """At most so many requests or tokens in any window of time, or so many requests at once."""

    kind = models.CharField(max_length=12, choices=LIMIT_KINDS)
    amount = models.BigIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(MAX_AMOUNT)],
        help_text="Above 0: to stop a key, revoke it; for no limit, have no row.",
    )
    per = models.CharField(
        max_length=6,
        choices=WINDOWS,
        blank=True,
        # The window that providers limit by.
        default="minute",
        help_text="In any such span of time, not only in one by the clock. Empty where it counts requests at "
        "the same time.",
    )
    model = models.CharField(
        max_length=200,
        blank=True,
        validators=[MODEL_ENTRY],
        help_text="A model as clients name it, or a prefix such as gpt-*, which counts all its models "
        "together. Empty: every model.",
    )
    provider = models.CharField(
        max_length=100,
        blank=True,
        help_text="Counts only what goes to the provider of this name; when it is used up, the next target "
        "is asked. Empty: whichever.",
    )
    wait_seconds = models.FloatField(
        # A call that finds no place is told so at once: its client knows best what else to do.
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(MAX_WAIT_SECONDS)],
        help_text="How many seconds a call may wait for a place, by priority and arrival, at most 100 calls "
        "in each process. Only for requests at the same time, and without a provider. 0: refused at once.",
    )
    enabled = models.BooleanField(default=True, help_text="Off: as if it did not exist.")

    class Meta:
        ordering = ("team", "key", "kind", "per", "model", "provider", "id")
        constraints = (
            models.CheckConstraint(
                condition=Q(amount__gt=0) & Q(amount__lte=MAX_AMOUNT), name="limit_amount_is_above_0"
            ),
            models.CheckConstraint(
                condition=Q(team__isnull=True) | Q(key__isnull=True), name="limit_has_one_owner"
            ),
            _known("kind", LIMIT_KINDS, "limit_kind_is_known"),
            models.CheckConstraint(
                condition=Q(kind="concurrency", per="")
                | (~Q(kind="concurrency") & Q(per__in=[word for word, _ in WINDOWS])),
                name="limit_per_goes_with_kind",
                violation_error_message="Requests and tokens are counted per minute, hour or day; requests "
                "at the same time are not.",
            ),
            models.CheckConstraint(
                condition=Q(wait_seconds=0)
                | Q(kind="concurrency", provider="", wait_seconds__gt=0, wait_seconds__lte=MAX_WAIT_SECONDS),
                name="limit_wait_is_for_a_place",
                violation_error_message="Calls wait only where requests at the same time are counted; "
                "for one provider they wait in their route's line.",
            ),
            # In three, because NULL differs from NULL.
            models.UniqueConstraint(
                fields=("key", "kind", "per", "model", "provider"),
                condition=Q(key__isnull=False),
                name="limit_once_for_a_key",
                violation_error_message="This key has such a limit.",
            ),
            models.UniqueConstraint(
                fields=("team", "kind", "per", "model", "provider"),
                condition=Q(team__isnull=False),
                name="limit_once_for_a_team",
                violation_error_message="This team has such a limit.",
            ),
            models.UniqueConstraint(
                fields=("kind", "per", "model", "provider"),
                condition=Q(team__isnull=True, key__isnull=True),
                name="limit_once_for_everybody",
                violation_error_message="There is such a limit for everybody.",
            ),
        )

    def __str__(self) -> str:
        words = f"{self.amount} {self.kind}" + (f" per {self.per}" if self.per else "")
        return (
            words
            + (f" of {self.model}" if self.model else "")
            + (f" at {self.provider}" if self.provider else "")
        )

    def clean(self) -> None:
        """A count of requests at the same time has no window."""
        super().clean()
        if self.kind == "concurrency":
            self.per = ""


class Budget(Scoped):
    """At most so much money or so many tokens in a period of the calendar, in UTC."""

    unit = models.CharField(max_length=6, choices=UNITS, default="usd")
    amount = models.DecimalField(
        max_digits=19,
        decimal_places=6,
        validators=[MinValueValidator(Decimal("0.000001")), MaxValueValidator(MAX_AMOUNT)],
        help_text="Above 0: to stop a key, revoke it; for no budget, have no row.",
    )
    period = models.CharField(
        max_length=5, choices=PERIODS, default="month", help_text="Of the calendar, in UTC."
    )
    hard = models.BooleanField(
        default=True,
        help_text="On: what does not fit is refused, before it is spent. Off: nothing is refused, only told.",
    )
    webhook_url = models.CharField(
        "webhook",
        blank=True,
        max_length=500,
        validators=[URLValidator(schemes=("http", "https"))],
        help_text="Told once in each period at 50, 80 and 100 %, by a POST of JSON. A public address.",
    )
    enabled = models.BooleanField(default=True, help_text="Off: as if it did not exist.")

    class Meta:
        ordering = ("team", "key", "unit", "period", "id")
        constraints = (
            models.CheckConstraint(
                condition=Q(amount__gt=0) & Q(amount__lte=MAX_AMOUNT), name="budget_amount_is_above_0"
            ),
            models.CheckConstraint(
                condition=Q(team__isnull=True) | Q(key__isnull=True), name="budget_has_one_owner"
            ),
            _known("unit", UNITS, "budget_unit_is_known"),
            _known("period", PERIODS, "budget_period_is_known"),
            # In three, because NULL differs from NULL. A soft one beside a hard one warns before it.
            models.UniqueConstraint(
                fields=("key", "unit", "period", "hard"),
                condition=Q(key__isnull=False),
                name="budget_once_for_a_key",
                violation_error_message="This key has such a budget.",
            ),
            models.UniqueConstraint(
                fields=("team", "unit", "period", "hard"),
                condition=Q(team__isnull=False),
                name="budget_once_for_a_team",
                violation_error_message="This team has such a budget.",
            ),
            models.UniqueConstraint(
                fields=("unit", "period", "hard"),
                condition=Q(team__isnull=True, key__isnull=True),
                name="budget_once_for_everybody",
                violation_error_message="There is such a budget for everybody.",
            ),
        )

    def __str__(self) -> str:
        amount = f"{self.amount:f}".rstrip("0").rstrip(".") if "." in f"{self.amount:f}" else f"{self.amount}"
        when = "in total" if self.period == "total" else f"a {self.period}"
        return f"{amount} {'US dollars' if self.unit == 'usd' else 'tokens'} {when}"

    def clean(self) -> None:
        """Tokens are whole, and money has a bound."""
        super().clean()
        amount: object = self.amount
        if not isinstance(amount, Decimal) or not amount.is_finite():
            # The field has said so itself.
            return
        if self.unit == "tokens" and amount != amount.to_integral_value():
            raise ValidationError({"amount": "Tokens are whole."})
        if self.unit == "usd" and amount > MAX_USD:
            raise ValidationError({"amount": f"At most {MAX_USD} US dollars."})
