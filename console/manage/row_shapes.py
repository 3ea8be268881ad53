"""How rows of the configuration are written: what the admin's pages let one set, by the same names."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.capture.setting import COLUMNS
from accounts.models import Budget, Limit, Team
from providers.apps import breakers
from providers.models import CatalogueModel, Credential, Provider
from routing.admin import RouteForm
from routing.credential_use import safe_to_remove
from routing.models import Route, Target

_TIMEOUTS = (
    "connect_timeout",
    "first_byte_timeout",
    "first_byte_stream_timeout",
    "idle_timeout",
    "total_timeout",
    "client_stall_timeout",
)


def _team() -> Any:
    return serializers.SlugRelatedField(
        slug_field="name", queryset=Team.objects.all(), allow_null=True, required=False, help_text="Its name."
    )


class _Id(serializers.ModelSerializer[Any]):
    """A row on another's page: without an `id` it is a new one."""

    id = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)


class Credentials(_Id):
    """A provider's credential. Its secret is written and never read. `last_used` is some seconds late;
    `safe_to_remove`: it is disabled, or was not used for seven days, and keeps nobody's files or batches."""

    last_used = serializers.DateTimeField(read_only=True, allow_null=True)
    safe_to_remove = serializers.SerializerMethodField()
    secret = serializers.CharField(write_only=True, required=False, max_length=8192, allow_blank=True)
    label = serializers.CharField(max_length=100, required=False)  # type: ignore[assignment]  # a field of that name

    class Meta:
        model = Credential
        fields = ("id", "label", "secret", "last4", "enabled", "created", "last_used", "safe_to_remove")
        read_only_fields = ("last4", "created")
        validators: tuple[Any, ...] = ()

    def get_safe_to_remove(self, row: Any) -> bool:
        """Whether nobody would miss it."""
        return safe_to_remove(row)


class Breakers(serializers.Serializer[Any]):
    """How the breaker of one upstream model is, as the process that answers knows it."""

    model = serializers.CharField()
    state = serializers.CharField()
    seconds = serializers.FloatField()


class Providers(serializers.ModelSerializer[Provider]):
    """A provider with its credentials. `breaker_mode` holds its breakers open or closed."""

    credentials = Credentials(many=True, required=False)
    breakers = serializers.SerializerMethodField()

    class Meta:
        model = Provider
        fields = (
            "id",
            "name",
            "kind",
            "base_url",
            "enabled",
            "allow_private_addresses",
            *_TIMEOUTS,
            "breaker_mode",
            "breaker_consecutive",
            "breaker_ratio",
            "breaker_minimum",
            "breaker_window",
            "breaker_open",
            "breaker_max_open",
            "credentials",
            "breakers",
        )
        validators: tuple[Any, ...] = ()

    def get_breakers(self, row: Provider) -> list[dict[str, Any]]:
        """Of each model that was asked."""
        return [each._asdict() for each in breakers(row.name)]


class Targets(_Id):
    """Where a route goes, by a provider's name."""

    provider = serializers.SlugRelatedField(slug_field="name", queryset=Provider.objects.all())

    class Meta:
        model = Target
        fields = (
            "id",
            "tier",
            "weight",
            "provider",
            "upstream_model",
            "max_in_flight",
            "after",
            "body_patch",
            "enabled",
        )
        validators: tuple[Any, ...] = ()


class Routes(serializers.ModelSerializer[Route]):
    """A route with its targets. Without a name it is called as its pattern."""

    team = _team()
    name = serializers.CharField(max_length=200, required=False)
    targets = Targets(many=True, required=False)

    class Meta:
        model = Route
        fields = ("id", *RouteForm.Meta.fields, "targets")
        validators: tuple[Any, ...] = ()


class Teams(serializers.ModelSerializer[Team]):
    """A team."""

    class Meta:
        model = Team
        fields = ("id", "name", "priority", "batches", *COLUMNS, "created")
        read_only_fields = ("created",)


class Prices(serializers.ModelSerializer[CatalogueModel]):
    """What is known of a model. Prices are US dollars per million tokens; an edit is kept when the price list
    is updated."""

    class Meta:
        model = CatalogueModel
        fields = (
            "id",
            "kind",
            "name",
            "context_window",
            "max_output_tokens",
            "capabilities",
            "input_price",
            "output_price",
            "cache_read_price",
            "cache_write_price",
            "overridden",
        )
        validators: tuple[Any, ...] = ()


class Limits(serializers.ModelSerializer[Limit]):
    """So many requests or tokens in a window, or requests at once; of a team, of a key, or with neither of
    everybody."""

    team = _team()

    class Meta:
        model = Limit
        fields = (
            "id",
            "team",
            "key",
            "kind",
            "amount",
            "per",
            "model",
            "provider",
            "wait_seconds",
            "enabled",
        )
        validators: tuple[Any, ...] = ()


class Budgets(serializers.ModelSerializer[Budget]):
    """So much money or so many tokens in a period; of whom as limits are."""

    team = _team()

    class Meta:
        model = Budget
        fields = ("id", "team", "key", "amount", "unit", "period", "hard", "webhook_url", "enabled")
        validators: tuple[Any, ...] = ()
