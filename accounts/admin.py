"""How teams and keys look in the admin.

Nothing is registered here: what is saved must also be published, which is routing's business, and routing
lies above. routing/admin.py adds that and registers these classes.
"""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.capture.setting import COLUMNS
from accounts.issuing import draw
from accounts.models import ApiKey, Team
from accounts.rights import Action, may
from accounts.snippets import snippets

_PLAIN_NAME = re.compile(r"[A-Za-z0-9._:/-]+")


class TeamAdmin(ModelAdmin):
    """Teams with how many keys and routes they have."""

    when_empty = "Keys, budgets and routes of one's own belong to teams: add one, and then its first key."

    list_display = ("name", "active_keys", "route_count", "created")
    search_fields = ("name",)
    # Django forgets the table's own where sums are added.
    ordering = ("name",)
    fields = ("name", "priority", "batches", *COLUMNS)
    csv_fields: tuple[str, ...] = ("name", "created")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        teams: QuerySet[Team] = super().get_queryset(request)
        active = Count("keys", Q(keys__revoked_at=None), distinct=True)
        return teams.annotate(active=active, route_total=Count("routes", distinct=True))

    @admin.display(description="Keys", ordering="active")
    def active_keys(self, obj: Any) -> int:
        count: int = obj.active
        return count

    @admin.display(description="Own routes", ordering="route_total")
    def route_count(self, obj: Any) -> int:
        count: int = obj.route_total
        return count


class ModelEntries(forms.Field):
    """A list of model names, one on each line."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:
        return [line.strip() for line in str(value or "").replace(",", "\n").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return (initial or []) != self.to_python(data)


class ApiKeyForm(forms.ModelForm):
    """A key's label, limits and end."""

    allowed_models = ModelEntries(
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4, "placeholder": "gpt-4o-mini\nclaude-*"}),
        help_text="One model name or prefix such as gpt-* on each line. Empty: every model.",
    )

    class Meta:
        model = ApiKey
        fields = ("team", "label", "priority", "expires_at", "allowed_models")

    def clean_expires_at(self) -> Any:
        moment = self.cleaned_data["expires_at"]
        if moment is not None and "expires_at" in self.changed_data and moment <= timezone.now():
            raise ValidationError("This moment has passed. To stop a key at once, revoke it.")
        return moment


class StateFilter(admin.SimpleListFilter):
    """Active, expired or revoked."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "Active"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        past = Q(expires_at__lte=timezone.now())
        if self.value() == "active":
            return queryset.filter(revoked_at=None).exclude(past)
        if self.value() == "expired":
            return queryset.filter(past, revoked_at=None)
        return queryset.filter(revoked_at__isnull=False) if self.value() == "revoked" else queryset


class ApiKeyAdmin(ModelAdmin):
    """Keys: issued once, revoked, never deleted, because what they did stays on record."""

    when_empty = "Clients call with a key of a team. It is shown once, when it is issued."

    form = ApiKeyForm
    list_display: tuple[str, ...] = ("shown", "label", "team", "state", "models", "expires_at", "created")
    list_display_links = ("shown", "label")
    list_filter = (StateFilter, "team")
    list_select_related = ("team",)
    search_fields = ("prefix", "label", "team__name")
    autocomplete_fields = ("team",)
    list_per_page = 50
    actions = ("revoke_chosen",)
    actions_detail: tuple[str, ...] = ("revoke",)
    csv_fields: tuple[str, ...] = (
        "id",
        "prefix",
        "label",
        "team",
        "state",
        "created",
        "expires_at",
        "revoked_at",
    )

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        limits = ("Limits", {"fields": ("expires_at", "allowed_models", "priority")})
        if obj is None:
            words = "The key is made when you save, and shown once."
            return ((None, {"fields": ("team", "label"), "description": words}), limits)
        return ((None, {"fields": (("shown", "state"), "team", "label", ("created", "revoked_at"))}), limits)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        # A key that changed its team would take the team's routes and bills with it.
        return () if obj is None else ("shown", "state", "team", "created", "revoked_at")

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return may(request.user, Action.ISSUE_KEY)

    def has_revoke_permission(self, request: HttpRequest, _object_id: object = None) -> bool:
        """For the theme and Django, which ask before they offer and before they do it."""
        return may(request.user, Action.REVOKE_KEY)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        # Whatever is pressed leads to the page that shows the key, so there is one button.
        one = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **one})

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: Any) -> None:
        if not change:
            # Handed to the answer of this very request.
            obj.issued_key = draw(obj)
        super().save_model(request, obj, form, change)

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Whichever button was pressed."""
        return self.issued_page(request, obj)

    def issued_page(self, request: HttpRequest, obj: ApiKey) -> HttpResponse:
        """The one page that shows a key."""
        context = {
            **self.admin_site.each_context(request),
            "title": "The new key",
            "opts": self.opts,
            "object": obj,
            "snippets": list(
                snippets(
                    obj.issued_key or "", f"{request.scheme}://{request.get_host()}", self.sample_model(obj)
                )
            ),
        }
        headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return TemplateResponse(request, "admin/accounts/apikey/issued.html", context, headers=headers)

    def sample_model(self, key: ApiKey) -> str:
        """A model for the examples: the first that the key names, as far as it is harmless in a shell."""
        names = (str(entry) for entry in key.allowed_models)
        return next((name for name in names if _PLAIN_NAME.fullmatch(name)), "gpt-4o-mini")

    @admin.display(description="Key", ordering="prefix")
    def shown(self, obj: ApiKey) -> str:
        return f"{obj.prefix}…"

    @display(description="State", label={"active": "success", "expired": "warning", "revoked": "danger"})
    def state(self, obj: ApiKey) -> str:
        return obj.state

    @admin.display(description="Models")
    def models(self, obj: ApiKey) -> str:
        return ", ".join(map(str, obj.allowed_models)) or "all"

    @admin.action(description="Revoke: refused within a second, for good", permissions=["revoke"])
    def revoke_chosen(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        count = self._revoke(request, queryset)
        self.message_user(request, f"{count} revoked.", messages.SUCCESS)

    @action(
        description="Revoke",
        icon="block",
        permissions=["revoke"],
        dialog={
            "title": "Revoke this key?",
            "description": "It is refused within a second, and for good: nobody can bring it back.",
            "form_submit_text": "Revoke",
        },
    )
    def revoke(self, request: HttpRequest, _form: object, object_id: str) -> HttpResponse:
        """Reached by POST only: until its dialog is sent, the theme answers with the dialog."""
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        revoked = self._revoke(request, ApiKey.objects.filter(pk=row.pk))
        self.message_user(request, f"{row} is revoked." if revoked else f"{row} was revoked before.")
        # The dialog was sent by the theme's script, which is told so where to go.
        return HttpResponse(headers={"HX-Redirect": reverse("admin:accounts_apikey_change", args=(row.pk,))})

    def _revoke(self, request: HttpRequest, keys: QuerySet[ApiKey]) -> int:
        now = timezone.now()
        rows = list(keys.filter(revoked_at=None))
        message = [{"changed": {"fields": ["Revoked"]}}, {"values": {"revoked": [False, True]}}]
        with transaction.atomic():
            for row in rows:
                self.log_change(request, row, message)
                row.revoked_at = now
                row.save(update_fields=["revoked_at"])
        return len(rows)
