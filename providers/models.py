"""Rows of where calls can go: providers, their sealed credentials, the catalogue of models with prices."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from providers.base_urls import BaseUrlError, check_base_url
from providers.kinds import KINDS
from providers.presets import PLACEHOLDER
from providers.wire import Timeouts

# Defaults and their reasons are written where the pipeline reads them.
_TIMEOUTS = Timeouts()
# An hour: longer than any model thinks, short enough that a stray value does not hold a connection for ever.
MAX_SECONDS = 3600.0
# A breaker that waits for more than this never trips.
MAX_COUNT = 100_000

# As routing.snapshot.BreakerMode names them.
BREAKER_MODES = (
    ("auto", "auto: judged by its failures"),
    ("open", "held open: no calls"),
    ("closed", "held closed: always asked"),
)

ANOTHER_ADDRESS = "Its secret was entered for another address: enter it anew."

_SLUG = RegexValidator(
    r"\A[a-z0-9]([a-z0-9._-]*[a-z0-9])?\Z",
    "Lower-case letters, digits, dots, dashes and underscores; it begins and ends with a letter or digit.",
)
_MODEL_NAME = RegexValidator(
    r"\A[^\s*]*[^\s]\Z", "A model name has no spaces; a star stands only at its end and makes it a prefix."
)


def kind_choices() -> list[tuple[str, str]]:
    """The kinds of the table, for forms. A function, so that a new kind needs no migration."""
    return [(kind.name, kind.label) for kind in KINDS.values()]


def validate_seconds(value: float) -> None:
    """A finite number of seconds above 0 and at most an hour: 0 does not mean "no limit"."""
    if not math.isfinite(value) or not 0 < value <= MAX_SECONDS:
        raise ValidationError(f"Seconds above 0 and at most {MAX_SECONDS:g}.")


def validate_words(value: object) -> None:
    """A list of plain words."""
    if not isinstance(value, list) or not all(
        isinstance(word, str) and word.isidentifier() for word in value
    ):
        raise ValidationError("Expected a list of words such as tools or vision.")


def _seconds(default: float, help_text: str) -> models.FloatField[float, float]:
    return models.FloatField(default=default, validators=[validate_seconds], help_text=help_text)


def _count(name: str, default: int, help_text: str) -> models.PositiveIntegerField[int, int]:
    return models.PositiveIntegerField(
        name,
        default=default,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_COUNT)],
        help_text=help_text,
    )


class Provider(models.Model):
    """A place that answers calls, reached at one base URL."""

    name = models.CharField(
        max_length=64, unique=True, validators=[_SLUG], help_text="Its name in routes, logs and metrics."
    )
    kind = models.CharField(
        max_length=32, choices=kind_choices, help_text="Decides the wire format and how credentials are sent."
    )
    base_url = models.CharField(
        "base URL",
        max_length=500,
        blank=True,
        help_text="As the provider's SDK takes it: OpenAI's ends in /v1, Anthropic's and Ollama's do not. "
        "Empty: the kind's own address.",
    )
    enabled = models.BooleanField(default=True, help_text="Off: no route uses it; calls under way finish.")
    allow_private_addresses = models.BooleanField(
        default=False,
        help_text="Permits addresses on private networks, such as a local Ollama. Metadata services stay "
        "refused.",
    )
    connect_timeout = _seconds(_TIMEOUTS.connect, "Seconds until connected, TLS included.")
    first_byte_timeout = _seconds(
        _TIMEOUTS.first_byte, "Seconds until an answer that is not streamed begins."
    )
    first_byte_stream_timeout = _seconds(_TIMEOUTS.first_byte_stream, "Seconds until a stream begins.")
    idle_timeout = _seconds(_TIMEOUTS.idle, "Seconds without a byte after which an answer counts as dead.")
    total_timeout = _seconds(_TIMEOUTS.total, "Seconds for a whole call, its retries included.")
    client_stall_timeout = _seconds(
        _TIMEOUTS.client_stall,
        "Seconds for which a client may take nothing of a stream.",
    )
    breaker_mode = models.CharField(
        "breaker",
        max_length=8,
        choices=BREAKER_MODES,
        # Who knows better than the figures says so for a while, and then lets them judge again.
        default="auto",
        help_text="A target that keeps failing is left alone for a while. Open: no calls go to this "
        "provider. Closed: its failures are not counted.",
    )
    breaker_consecutive = _count(
        "breaker: failures in a row", 5, "It opens after this many failures in a row,"
    )
    breaker_ratio = models.FloatField(
        "breaker: share of failures",
        default=0.5,
        validators=[MinValueValidator(0.01), MaxValueValidator(1.0)],
        help_text="or when this share of the attempts in its window failed, 0.5 is half,",
    )
    breaker_minimum = _count("breaker: attempts to judge by", 20, "among at least this many.")
    breaker_window = _seconds(30.0, "Seconds over which attempts are counted.")
    breaker_open = _seconds(15.0, "Seconds for which it stays open at first; that much longer each time.")
    breaker_max_open = _seconds(300.0, "Seconds for which it stays open at most.")
    managed_by_env = models.BooleanField(
        "follows the environment",
        default=False,
        help_text="The base URL is taken from the environment or config.yaml at each start. An edit of it "
        "here turns this off.",
    )

    class Meta:
        ordering = ("name",)
        permissions = (("test_provider", "Can test provider: sends its credentials to it"),)
        constraints = (
            models.CheckConstraint(condition=~Q(name=""), name="provider_has_a_name"),
            models.CheckConstraint(
                condition=Q(connect_timeout__gt=0)
                & Q(first_byte_timeout__gt=0)
                & Q(first_byte_stream_timeout__gt=0)
                & Q(idle_timeout__gt=0)
                & Q(total_timeout__gt=0)
                & Q(client_stall_timeout__gt=0),
                name="provider_timeouts_above_0",
                violation_error_message="Every timeout must be above 0.",
            ),
            models.CheckConstraint(
                condition=Q(breaker_mode__in=[word for word, _ in BREAKER_MODES]),
                name="provider_breaker_mode_is_known",
            ),
            models.CheckConstraint(
                condition=Q(breaker_consecutive__gt=0)
                & Q(breaker_minimum__gt=0)
                & Q(breaker_ratio__gt=0)
                & Q(breaker_window__gt=0)
                & Q(breaker_open__gt=0)
                & Q(breaker_max_open__gt=0),
                name="provider_breaker_above_0",
                violation_error_message="A breaker's figures must be above 0.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def address(self) -> str:
        """The base URL in force: its own, or the kind's."""
        return self.base_url or (KINDS[self.kind].base_url if self.kind in KINDS else "")

    @property
    def destination(self) -> str:
        """Where its secrets go, and in which form: what a secret is entered for."""
        return f"{self.kind} {self.address}"

    def clean(self) -> None:
        """Check the base URL against the kind and the rules of egress."""
        kind = KINDS.get(self.kind)
        if kind is None:
            return
        if kind.transport != "http":
            if self.base_url:
                raise ValidationError({"base_url": "This kind answers by itself and has no address."})
            return
        if not self.address:
            raise ValidationError({"base_url": "This kind has no address of its own: enter one."})
        if not self.base_url:
            return
        if PLACEHOLDER in self.base_url:
            raise ValidationError({"base_url": f"Put the name of your own resource for {PLACEHOLDER}."})
        try:
            self.base_url = check_base_url(self.base_url, allow_private=self.allow_private_addresses)
        except BaseUrlError as error:
            raise ValidationError({"base_url": f"Refused: {error}."}) from error


class Credential(models.Model):
    """A provider's secret, sealed. What can be read of it is its label and its last four characters."""

    provider = models.ForeignKey(Provider, models.CASCADE, related_name="credentials")
    label = models.CharField(
        max_length=100, default="default", help_text="Tells it from the provider's other credentials."
    )
    sealed = models.TextField(editable=False)
    last4 = models.CharField(max_length=4, blank=True, editable=False)
    enabled = models.BooleanField(default=True)
    created = models.DateTimeField(default=timezone.now, editable=False)
    managed_by_env = models.BooleanField(
        "follows the environment",
        default=False,
        help_text="The secret is taken from the environment or config.yaml at each start. Entering one here "
        "turns this off.",
    )
    # Written when a way back gives the provider another address; empty: entered for the one that it has.
    entered_for = models.CharField(max_length=600, blank=True, default="", editable=False)

    class Meta:
        ordering = ("provider", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("provider", "label"),
                name="credential_label_once_per_provider",
                violation_error_message="This provider has a credential with this label.",
            ),
            models.CheckConstraint(condition=~Q(sealed=""), name="credential_is_sealed"),
            # Whatever enables it: what is not enabled is neither loaded nor sent.
            models.CheckConstraint(
                condition=Q(enabled=False) | Q(entered_for=""),
                name="credential_is_for_its_address",
                violation_error_message=ANOTHER_ADDRESS,
            ),
        )

    def __str__(self) -> str:
        return f"{self.label} …{self.last4}"

    def clean(self) -> None:
        """A secret that was entered for another address stays disabled until its own comes back."""
        if not (self.enabled and self.entered_for):
            return
        if self.entered_for != self.provider.destination:
            raise ValidationError({"enabled": ANOTHER_ADDRESS})
        self.entered_for = ""


def _price(help_text: str) -> models.DecimalField[Any, Any]:
    return models.DecimalField(
        max_digits=14,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal(0))],
        help_text=help_text,
    )


_PRICES = ("input_price", "output_price", "cache_read_price", "cache_write_price")


class CatalogueModel(models.Model):
    """What is known of a model: how much fits in, what it can do, what it costs."""

    kind = models.CharField("provider kind", max_length=32, choices=kind_choices)
    name = models.CharField(
        max_length=200,
        validators=[_MODEL_NAME],
        help_text="The provider's name for it; a prefix such as claude-sonnet-4-5* covers dated versions.",
    )
    context_window = models.PositiveIntegerField(
        null=True, blank=True, help_text="Tokens that fit in, prompt and answer together. Empty: unknown."
    )
    max_output_tokens = models.PositiveIntegerField(
        null=True, blank=True, help_text="The most tokens it answers with. Empty: unknown."
    )
    capabilities = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_words],
        help_text='Words such as "tools", "vision", "json_schema", "embeddings". Empty: judged by the name.',
    )
    input_price = _price("US dollars per million input tokens. Empty: unknown, which is not free.")
    output_price = _price("US dollars per million output tokens.")
    cache_read_price = _price("US dollars per million input tokens read from the provider's cache.")
    cache_write_price = _price("US dollars per million input tokens written to the provider's cache.")
    overridden = models.BooleanField(
        default=False, help_text="Edited by hand: an update of the price list leaves it alone."
    )

    class Meta:
        verbose_name = "catalogue model"
        ordering = ("kind", "name")
        constraints = (
            models.UniqueConstraint(
                fields=("kind", "name"),
                name="catalogue_name_once_per_kind",
                violation_error_message="The catalogue has this model already.",
            ),
            *(
                models.CheckConstraint(
                    condition=Q(**{f"{price}__isnull": True}) | Q(**{f"{price}__gte": 0}),
                    name=f"catalogue_{price}_not_negative",
                )
                for price in _PRICES
            ),
            models.CheckConstraint(
                condition=(Q(context_window__isnull=True) | Q(context_window__gt=0))
                & (Q(max_output_tokens__isnull=True) | Q(max_output_tokens__gt=0)),
                name="catalogue_limits_above_0",
                violation_error_message="Limits are above 0; leave an unknown one empty.",
            ),
        )

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        # Django runs no validator on what is empty, and an empty object is not an empty list.
        self.capabilities = self.capabilities or []
