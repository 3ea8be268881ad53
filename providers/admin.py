"""How providers and the catalogue look in the admin.

Nothing is registered here: what is saved must also be published, which is routing's business, and routing
lies above. routing/admin.py adds that and registers these classes.
"""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from providers.apps import BreakerNow, breakers, vault
from providers.catalogue import seed_catalogue
from providers.forms import CredentialForm, CredentialFormSet, ProviderForm
from providers.kinds import KINDS
from providers.models import CatalogueModel, Credential, Provider
from providers.presets import CUSTOM, PRESETS
from providers.trial import TEST_PAUSE, take_turn, try_provider


class CredentialInline(TabularInline):
    """The credentials of a provider, by label and last four characters."""

    model = Credential
    form = CredentialForm
    formset = CredentialFormSet
    fields: ClassVar[tuple[str, ...]] = ("label", "secret", "ending", "enabled", "managed_by_env")
    readonly_fields: ClassVar[tuple[str, ...]] = ("ending", "managed_by_env")
    verbose_name_plural = "credentials"
    hide_title = True

    def get_extra(self, request: HttpRequest, obj: Provider | None = None, **kwargs: Any) -> int:
        return 1 if obj is None else 0

    @admin.display(description="In use")
    def ending(self, obj: Credential) -> str:
        if not obj.pk:
            return ""
        return f"…{obj.last4} (for another address)" if obj.entered_for else f"…{obj.last4}"


class ProviderAdmin(ModelAdmin):
    """Providers with their credentials."""

    when_empty = "A provider is a place that answers calls. Choose a preset, enter its key, and test it."

    form = ProviderForm
    inlines = (CredentialInline,)
    list_display: tuple[str, ...] = (
        "name",
        "kind_label",
        "address",
        "state",
        "credential_count",
        "route_count",
    )
    list_filter = ("enabled", "kind")
    search_fields = ("name", "base_url", "credentials__label")
    actions: tuple[str, ...] = ("enable", "disable")
    actions_detail = ("test",)
    actions_row = ("test",)
    csv_fields: tuple[str, ...] = ("name", "kind", "address", "enabled")
    warn_unsaved_form = True
    change_form_outer_before_template = "admin/providers/provider/presets.html"
    fieldsets = (
        (None, {"fields": (("name", "kind"), "base_url", "enabled")}),
        ("Network", {"fields": ("allow_private_addresses",), "classes": ("tab",)}),
        (
            "Timeouts",
            {
                "fields": (
                    ("connect_timeout", "idle_timeout"),
                    ("first_byte_timeout", "first_byte_stream_timeout"),
                    ("total_timeout", "client_stall_timeout"),
                ),
                "classes": ("tab",),
            },
        ),
        (
            "Breaker",
            {
                "fields": (
                    "breakers_now",
                    "breaker_mode",
                    ("breaker_consecutive", "breaker_ratio", "breaker_minimum"),
                    ("breaker_window", "breaker_open", "breaker_max_open"),
                ),
                "classes": ("tab",),
            },
        ),
        ("Environment", {"fields": ("managed_by_env",), "classes": ("tab",)}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        rows: QuerySet[Provider] = super().get_queryset(request)
        usable = Count("credentials", Q(credentials__enabled=True), distinct=True)
        return rows.annotate(usable=usable, route_total=Count("targets__route", distinct=True))

    def get_readonly_fields(self, request: HttpRequest, obj: Provider | None = None) -> tuple[str, ...]:
        fields: tuple[str, ...] = ("managed_by_env", "breakers_now")
        user: Any = request.user
        if not user.is_superuser:
            # Reaching into the private network is for whoever may do everything anyway.
            fields += ("allow_private_addresses",)
        if obj is not None and not user.has_perm("providers.change_credential"):
            # Without the right to enter secrets anew, the address that they go to stays as well.
            fields += ("kind", "base_url")
        return fields

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page offers presets as links to itself, which work without scripts."""
        chosen = PRESETS.get(request.GET.get("preset", ""))
        context = {"presets": PRESETS.values(), "chosen": chosen, **(extra_context or {})}
        response: HttpResponse = super().add_view(request, form_url, context)
        return response

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """What a preset knows, and nothing else: Django takes any field from the address, and a link could
        then have somebody enter a secret for a place of the link's choosing."""
        preset = PRESETS.get(request.GET.get("preset", ""))
        if preset is None:
            return {}
        return {
            "name": "" if preset.name == CUSTOM else _free(preset.name),
            "kind": preset.kind,
            "base_url": preset.base_url,
            "allow_private_addresses": preset.private,
        }

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: Any) -> None:
        if "base_url" in form.changed_data:
            obj.managed_by_env = False
        super().save_model(request, obj, form, change)

    @admin.display(description="Kind", ordering="kind")
    def kind_label(self, obj: Provider) -> str:
        return KINDS[obj.kind].label.partition(" (")[0] if obj.kind in KINDS else obj.kind

    @admin.display(description="Address")
    def address(self, obj: Provider) -> str:
        return obj.address

    @display(
        description="State",
        label={
            "ready": "success",
            "needs a credential": "warning",
            "disabled": "danger",
            "unknown kind": "danger",
        },
    )
    def state(self, obj: Any) -> str:
        if obj.kind not in KINDS:
            return "unknown kind"
        if not obj.enabled:
            return "disabled"
        return "needs a credential" if KINDS[obj.kind].needs_credential and not obj.usable else "ready"

    @admin.display(description="Now")
    def breakers_now(self, obj: Provider) -> str:
        """Of each upstream model that was asked, as the process that serves this page knows it."""
        said = [_breaker_words(one) for one in breakers(obj.name)] if obj.pk else []
        return "; ".join(said) or "no calls yet"

    @admin.display(description="Credentials", ordering="usable")
    def credential_count(self, obj: Any) -> int:
        count: int = obj.usable
        return count

    @admin.display(description="Routes", ordering="route_total")
    def route_count(self, obj: Any) -> int:
        count: int = obj.route_total
        return count

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        self._switch(request, queryset, to=True)

    @admin.action(description="Disable: no new calls go there", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Provider]) -> None:
        self._switch(request, queryset, to=False)

    def _switch(self, request: HttpRequest, rows: QuerySet[Provider], *, to: bool) -> None:
        changed = list(rows.exclude(enabled=to))
        message = [{"changed": {"fields": ["Enabled"]}}, {"values": {"enabled": [not to, to]}}]
        with transaction.atomic():
            for row in changed:
                self.log_change(request, row, message)
                row.enabled = to
                row.save(update_fields=["enabled"])
        self.message_user(request, f"{len(changed)} changed.", messages.SUCCESS)

    def has_test_permission(self, request: HttpRequest, _obj: object = None) -> bool:
        """Testing sends stored secrets out: a permission of its own, which at first only superusers have."""
        user: Any = request.user
        return bool(user.has_perm("providers.test_provider"))

    @action(
        description="Test",
        icon="network_check",
        permissions=["test"],
        dialog={
            "title": "Test this provider",
            "description": "Asks a path that costs nothing, once with each enabled credential, as saved. It "
            "takes 15 seconds at most.",
            "form_submit_text": "Test",
        },
    )
    def test(self, request: HttpRequest, _form: object, object_id: str) -> HttpResponse:
        """Reached by POST only: until its dialog is sent, the theme answers with the dialog."""
        provider = self.get_object(request, object_id)
        if provider is None:
            raise Http404
        if take_turn(provider):
            for trial in try_provider(provider, vault()):
                level = messages.SUCCESS if trial.verdict.ok else messages.ERROR
                self.message_user(request, f"{provider}: {trial.words}", level)
        else:
            self.message_user(
                request, f"{provider} has just been tested: wait {TEST_PAUSE} seconds.", messages.WARNING
            )
        # The dialog was sent by the theme's script, which is told so where to go.
        page = reverse("admin:providers_provider_change", args=(provider.pk,))
        return HttpResponse(headers={"HX-Redirect": page})


def _breaker_words(now: BreakerNow) -> str:
    state = now.state.replace("_", " ")
    return (
        f"{now.model}: {state} for {max(1, round(now.seconds))} s" if now.seconds else f"{now.model}: {state}"
    )


def _free(name: str) -> str:
    """`name`, or with the first number that no provider has: a second account is no typing error."""
    taken = set(Provider.objects.filter(name__startswith=name).values_list("name", flat=True))
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if each not in taken)


class CatalogueModelAdmin(ModelAdmin):
    """The catalogue. An edit is kept when the price list is updated."""

    when_empty = "The catalogue says what models hold, can do and cost. A start fills it from the price list."

    list_display = (
        "name",
        "kind",
        "context",
        "price_in",
        "price_out",
        "price_cached",
        "abilities",
        "source",
    )
    list_filter = ("kind", "overridden", ("input_price", admin.EmptyFieldListFilter))
    search_fields = ("name",)
    list_per_page = 50
    actions = ("follow_price_list",)
    csv_fields: tuple[str, ...] = (
        "kind",
        "name",
        "context_window",
        "max_output_tokens",
        "input_price",
        "output_price",
        "cache_read_price",
        "cache_write_price",
    )
    fieldsets = (
        (None, {"fields": (("kind", "name"), ("context_window", "max_output_tokens"), "capabilities")}),
        (
            "US dollars per million tokens",
            {"fields": (("input_price", "output_price"), ("cache_read_price", "cache_write_price"))},
        ),
        ("Price list", {"fields": ("overridden",)}),
    )

    def save_model(self, request: HttpRequest, obj: CatalogueModel, form: Any, change: Any) -> None:
        if set(form.changed_data) - {"overridden"}:
            obj.overridden = True
        super().save_model(request, obj, form, change)

    @admin.display(description="Context", ordering="context_window", empty_value="unknown")
    def context(self, obj: CatalogueModel) -> str | None:
        return None if obj.context_window is None else f"{obj.context_window:,}"

    @admin.display(description="$ in", ordering="input_price", empty_value="-")
    def price_in(self, obj: CatalogueModel) -> str | None:
        return dollars(obj.input_price)

    @admin.display(description="$ out", ordering="output_price", empty_value="-")
    def price_out(self, obj: CatalogueModel) -> str | None:
        return dollars(obj.output_price)

    @admin.display(description="$ cached", ordering="cache_read_price", empty_value="-")
    def price_cached(self, obj: CatalogueModel) -> str | None:
        return dollars(obj.cache_read_price)

    @admin.display(description="Can")
    def abilities(self, obj: CatalogueModel) -> str:
        known = (
            [word for word in obj.capabilities if word in _SHOWN]
            if isinstance(obj.capabilities, list)
            else []
        )
        return ", ".join(word.replace("_", " ") for word in known)

    @display(description="From", ordering="overridden", label={"by hand": "warning", "price list": "info"})
    def source(self, obj: CatalogueModel) -> str:
        return "by hand" if obj.overridden else "price list"

    @admin.action(description="Follow the price list again", permissions=["change"])
    def follow_price_list(self, request: HttpRequest, queryset: QuerySet[CatalogueModel]) -> None:
        rows = list(queryset.filter(overridden=True))
        message = [{"changed": {"fields": ["Overridden"]}}, {"values": {"overridden": [True, False]}}]
        with transaction.atomic():
            for row in rows:
                self.log_change(request, row, message)
                row.overridden = False
                row.save(update_fields=["overridden"])
            seed_catalogue()
        self.message_user(request, f"{len(rows)} follow the price list again.", messages.SUCCESS)


# The words that say something to people; the others say how a model wants to be asked.
_SHOWN = frozenset({"tools", "vision", "documents", "audio", "json_schema", "reasoning", "embeddings"})


def dollars(price: Decimal | None) -> str | None:
    """A price without trailing zeros, at least two decimals."""
    if price is None:
        return None
    text = f"{price:.6f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"{whole}.{cents:0<2}"
