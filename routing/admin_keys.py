"""The admin's pages of keys, published: issued, rotated with an overlap, and shown with their use."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import action
from unfold.widgets import UnfoldAdminSelectWidget

from accounts.admin import ApiKeyAdmin
from accounts.issuing import KeyStateError
from accounts.key_use import last_uses, use_seen_by
from accounts.models import ApiKey
from accounts.rights import Action, may
from providers.models import Credential
from routing.admin_base import CsvExport, Published
from routing.admin_providers import moment
from routing.approval_gate import NeedsApprovalError
from routing.approval_page import kept
from routing.keys import rotate_key
from routing.models import Route

_OVERLAPS = (("0", "at once"), ("1", "in an hour"), ("24", "in a day"), ("168", "in seven days"))


class RotationForm(forms.Form):
    """When the old key ends."""

    overlap = forms.ChoiceField(
        label="The old key stops", choices=_OVERLAPS, initial="24", widget=UnfoldAdminSelectWidget
    )


class PublishedApiKeyAdmin(ApiKeyAdmin, Published, CsvExport):
    """Keys, published. One that has leaked is replaced in a freeze too."""

    is_edit = False
    actions_detail = ("rotate", *ApiKeyAdmin.actions_detail)
    list_display = (*ApiKeyAdmin.list_display, "last_seen")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Each key of the page with its last use, where that is for this user to know."""
        page = super().get_changelist_instance(request)
        uses = last_uses(request.user, page.result_list)
        for row in page.result_list:
            row.last_seen = uses.get(row.pk)
        return page

    def get_fieldsets(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        own = super().get_fieldsets(request, obj)
        return own if obj is None else (*own, ("Use and rotation", {"fields": (*_USE, *_KIN)}))

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        own = super().get_readonly_fields(request, obj)
        return own if obj is None else (*own, *_USE, *_KIN)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            # Fields of a page do not hear who asks.
            row.use = use_seen_by(request.user, row)
        return row

    def has_rotate_permission(self, request: HttpRequest, _object_id: object = None) -> bool:
        """For the theme, which asks before it shows the button and before it does anything."""
        return may(request.user, Action.ROTATE_KEY)

    @action(description="Rotate", icon="autorenew", permissions=["rotate"])
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks when the old key is to end; then issues its successor and shows that, once."""
        row = self.get_object(request, str(object_id))
        if row is None:
            raise Http404
        form = RotationForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            context = {**self.admin_site.each_context(request), "opts": self.opts, "object": row}
            context |= {"title": f"Rotate {row}", "form": form}
            return TemplateResponse(request, "admin/accounts/apikey/rotate.html", context)
        user: Any = request.user
        overlap = timedelta(hours=int(form.cleaned_data["overlap"]))
        try:
            issued = rotate_key(row, overlap, user.get_username())
        except NeedsApprovalError as error:
            shown = error.shown
            return self._held_back(request, error, shown.row if shown else row, shown.key if shown else None)
        except KeyStateError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(reverse("admin:accounts_apikey_change", args=(row.pk,)))
        words = f"Rotated to {issued.row.prefix}."
        LogEntry.objects.log_actions(user.pk, [row], CHANGE, words, single_object=True)
        issued.row.issued_key = issued.key
        return self.issued_page(request, issued.row)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """A new key that is held back is shown all the same, now or never."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except NeedsApprovalError as error:
            new = getattr(request, _NEW, None)
            if new is None:
                raise
            return self._held_back(request, error, new, new.issued_key)

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: Any) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            setattr(request, _NEW, obj)

    def _held_back(
        self, request: HttpRequest, error: NeedsApprovalError, row: ApiKey, key: str | None
    ) -> HttpResponse:
        approval = kept(request, error)
        if approval is None:
            return HttpResponseRedirect(request.get_full_path())
        row.issued_key, row.approval = key, approval
        return self.issued_page(request, row)

    @admin.display(description="Last used", empty_value="-")
    def last_seen(self, obj: Any) -> str | None:
        """In the list: empty where it never was, or is not to be seen."""
        return None if obj.last_seen is None else moment(obj.last_seen)

    @admin.display(description="Last used")
    def last_used(self, obj: Any) -> str:
        if obj.use is None:
            return "for who sees its team's requests"
        return moment(obj.use.last_used)

    @admin.display(description="Safe to revoke")
    def safe_to_revoke(self, obj: Any) -> str:
        if obj.use is None:
            return "for who sees its team's requests"
        return "yes" if obj.use.safe_to_revoke else "no: it is in use, or was until lately"

    @admin.display(description="Replaces")
    def replaces_key(self, obj: ApiKey) -> str:
        return "nothing" if obj.replaces is None else _link(obj.replaces)

    @admin.display(description="Replaced by")
    def replaced_by(self, obj: ApiKey) -> str:
        links = ((_link(each),) for each in obj.successors.order_by("id"))
        return format_html_join(", ", "{}", links) or "nothing"

    def sample_model(self, key: ApiKey) -> str:
        """Where the key allows all, a model that somebody answers for."""
        if key.allowed_models:
            return super().sample_model(key)
        usable = set(Credential.objects.filter(enabled=True).values_list("provider__kind", flat=True))
        if "openai" not in usable and "anthropic" in usable:
            return "claude-haiku-4-5"
        if not usable and Route.objects.filter(pattern="sandbox", enabled=True).exists():
            return "sandbox"
        return super().sample_model(key)


_NEW = "_new_key"
_USE = ("last_used", "safe_to_revoke")
_KIN = ("replaces_key", "replaced_by")


def _link(row: ApiKey) -> str:
    address = reverse("admin:accounts_apikey_change", args=(row.pk,))
    return format_html('<a class="text-primary-600" href="{}">{}</a> ({})', address, row, row.state)
