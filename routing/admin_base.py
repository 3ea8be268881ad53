"""What every admin page of this gateway has: saving publishes a revision, and lists can be taken away as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from routing.revisions import Change, publish

# A spreadsheet takes a cell that begins so for a formula, also behind spaces.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


class Published(admin.ModelAdmin):
    """Publishes a revision wherever Django writes its own admin log, in the same transaction.

    Django logs each addition, change and deletion, so nothing that an admin page does can miss it; an
    action of a page calls `log_change` itself.
    """

    def construct_change_message(
        self,
        request: HttpRequest,
        form: forms.ModelForm,
        formsets: Any,
        add: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> list[dict[str, Any]]:
        """Django's message, with the values before and after, and without secrets."""
        message: list[dict[str, Any]] = super().construct_change_message(request, form, formsets, add)
        values = changed_values(form)
        for formset in formsets or ():
            for inline in formset.forms:
                if inline.has_changed():
                    values[f"{inline.instance._meta.verbose_name} {inline.instance}"] = changed_values(inline)
        if message and values:
            next(iter(message[0].values()))["values"] = values
        return message

    def log_addition(self, request: HttpRequest, obj: models.Model, message: Any) -> LogEntry:
        self._publish(request, obj, "added", message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: models.Model, message: Any) -> LogEntry:
        if message:
            self._publish(request, obj, "changed", message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[models.Model]) -> Any:
        changes = [_change(obj, "deleted", []) for obj in queryset]
        names = ", ".join(change["object"] for change in changes)
        publish(_author(request), f"{names} deleted", changes)
        return super().log_deletions(request, queryset)  # type: ignore[misc,arg-type]  # the stubs lag behind

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase | None:
        """An action's changes and their revision are seen together or not at all."""
        with transaction.atomic():
            return super().response_action(request, queryset)  # type: ignore[no-any-return,misc]  # untyped

    def _publish(self, request: HttpRequest, obj: models.Model, action: str, message: Any) -> None:
        change = _change(obj, action, message if isinstance(message, list) else [])
        publish(_author(request), f"{change['object']} {action}", [change])


class CsvExport(admin.ModelAdmin):
    """An action that writes the chosen rows as CSV: the columns of `csv_fields`."""

    csv_fields: tuple[str, ...] = ()

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        actions["export_csv"] = (CsvExport.export_csv, "export_csv", "Export as CSV")
        return actions

    def export_csv(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(self.csv_fields)
        for row in queryset:
            writer.writerow([inert(getattr(row, name)) for name in self.csv_fields])
        return HttpResponse(
            text.getvalue(),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{self.opts.model_name}.csv"'},
        )


def inert(value: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if value is None else str(value)
    if isinstance(value, (int, float)):
        return text
    return "'" + text if text.lstrip(" ").startswith(_FORMULA) else text


def changed_values(form: Any) -> dict[str, Any]:
    """Of each changed field what was and what is; of a secret only that it was replaced."""
    values: dict[str, Any] = {}
    for name in form.changed_data:
        field = form.fields.get(name)
        if isinstance(getattr(field, "widget", None), forms.PasswordInput):
            values[name] = "replaced"
        elif name in form.cleaned_data:
            values[name] = [_plain(form.initial.get(name)), _plain(form.cleaned_data[name])]
    return values


def _change(obj: models.Model, action: str, message: list[Any]) -> Change:
    fields: dict[str, Any] = {}
    for part in message:
        for details in part.values():
            fields.update(details.get("values", {}))
    return {"object": f"{obj._meta.verbose_name} {obj}", "action": action, "fields": fields}


def _plain(value: object) -> object:
    if isinstance(value, models.Model):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str, list, dict)) else str(value)


def _author(request: HttpRequest) -> str:
    user: Any = request.user
    name: str = user.get_username()
    return name
