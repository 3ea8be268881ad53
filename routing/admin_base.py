"""What every admin page here has: a change publishes one revision, and a list can be taken away as CSV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar

from django import forms
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from accounts.admin_base import BoundedLookups
from accounts.sheets import lines
from routing.draft_mode import offered
from routing.freeze import freeze_words, refuse_while_frozen
from routing.lint_now import tell
from routing.revisions import Change, hold, publish

_READS = ("GET", "HEAD", "OPTIONS", "TRACE")


@dataclass(slots=True)
class _Noted:
    """Changes, and whether one of them is an edit of what steers traffic."""

    changes: list[Change] = field(default_factory=list)
    edit: bool = False


# What the request at hand has changed so far; None outside of a request that may change something.
_noted: ContextVar[_Noted | None] = ContextVar("noted", default=None)


class Published(BoundedLookups):
    """Publishes one revision for each request that changes something, in the transaction of the change.

    It hears of changes where Django writes its own admin log: at each addition, change and deletion, so
    nothing that a page does can miss it. An action calls `log_change` for each row, before it saves the row,
    with an element `{"values": {field: [before, after]}}` in the message.

    Whoever publishes takes the revisions' lock first and changes rows then, so that two who do never wait
    for each other.
    """

    # False: a freeze of edits does not hold it up.
    is_edit: ClassVar[bool] = True

    def get_form(self, request: HttpRequest, obj: Any = None, change: Any = False, **kwargs: Any) -> Any:  # noqa: FBT002 - Django's signature
        """Django's form; while edits are frozen it says so and keeps what was typed."""
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (_Thawed, form), {}) if self.is_edit else form

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Django's field, which compares with the row. Of a column with a made default Django has the browser
        say what was there before: whoever says there what he sends would have it saved and not published."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            field.show_hidden_initial = False
        return field

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        more = {"into_drafts": offered(request), **(extra_context or {})}
        with one_revision(request):
            return super().changeform_view(request, object_id, form_url, more)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        with one_revision(request):
            return super().delete_view(request, object_id, extra_context)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *rest: Any) -> Any:
        with one_revision(request):
            return super().response_action(request, queryset, *rest)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        hold()
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: Any) -> None:
        """All rows of the page are saved: what is not well about them is said beside the usual message."""
        super().save_related(request, form, formsets, change)
        tell(request, form.instance)

    def construct_change_message(
        self,
        request: HttpRequest,
        form: forms.Form,
        formsets: Any,
        add: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> list[dict[str, Any]]:
        """Django's message, and the values before and after, without secrets."""
        message: list[dict[str, Any]] = super().construct_change_message(request, form, formsets, add)
        values = changed_values(form)
        for inline in (each for formset in formsets or () for each in formset.forms if each.has_changed()):
            row = inline.instance
            name = f"{row._meta.verbose_name} {row}"
            if name in values:
                name += f" ({row.pk})"
            values[name] = "removed" if inline.cleaned_data.get("DELETE") else changed_values(inline)
        return [*message, {"values": values}] if message else message

    def log_addition(self, request: HttpRequest, obj: models.Model, message: Any) -> LogEntry:
        self._note(request, [_change(obj, "added", message)])
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: models.Model, message: Any) -> LogEntry:
        if message:
            self._note(request, [_change(obj, "changed", message)], edit=_is_edit(message))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[models.Model]) -> Any:
        """Django calls this before it deletes."""
        self._note(request, [_change(row, "deleted", []) for row in queryset])
        return super().log_deletions(request, queryset)  # type: ignore[arg-type]  # Django itself gives a list

    def _note(self, request: HttpRequest, changes: list[Change], *, edit: bool = True) -> None:
        edit = edit and self.is_edit
        noted = _noted.get()
        if noted is None:
            _publish(request, _Noted(changes, edit))
        else:
            hold()
            if edit:
                # Publishing refuses too, but after the page has said that it was done.
                refuse_while_frozen()
            noted.changes += changes
            noted.edit |= edit


class _Thawed:
    """A form that can be saved while edits are not frozen."""

    def clean(self) -> Any:
        cleaned = super().clean()  # type: ignore[misc]  # it stands before a form
        if words := freeze_words():
            raise ValidationError(words)
        return cleaned


@contextmanager
def one_revision(request: HttpRequest) -> Iterator[None]:
    """Whatever is noted inside is published at the end, and seen together with it or not at all."""
    if request.method in _READS or _noted.get() is not None:
        yield
        return
    with transaction.atomic():
        noted = _Noted()
        token = _noted.set(noted)
        try:
            yield
            _publish(request, noted)
        finally:
            _noted.reset(token)


def _publish(request: HttpRequest, noted: _Noted) -> None:
    if noted.changes:
        user: Any = request.user
        reason = "; ".join(f"{each['object']} {each['action']}" for each in noted.changes)
        publish(user.get_username(), reason, noted.changes, edit=noted.edit)


class CsvExport(BoundedLookups):
    """An action that writes the chosen rows as CSV: the columns of `csv_fields`."""

    csv_fields: tuple[str, ...] = ()

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions: dict[str, Any] = super().get_actions(request)
        actions["export_csv"] = (type(self).export_csv, "export_csv", "Export as CSV")
        return actions

    def export_csv(self, _request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        rows = ([getattr(row, name) for name in self.csv_fields] for row in queryset)
        return HttpResponse(
            lines([self.csv_fields, *rows]),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{self.opts.model_name}.csv"'},
        )


def changed_values(form: Any) -> dict[str, Any]:
    """Of each changed field what was and what is; of a secret only that it was replaced."""
    values: dict[str, Any] = {}
    for name in form.changed_data:
        field = form.fields.get(name)
        if isinstance(getattr(field, "widget", None), forms.PasswordInput):
            values[name] = "replaced"
        elif name in form.cleaned_data:
            before = form.initial.get(name)
            if isinstance(field, forms.ModelChoiceField) and field.queryset is not None:
                before = field.queryset.filter(pk=before).first()
            values[name] = [_plain(before), _plain(form.cleaned_data[name])]
    return values


def _change(obj: models.Model, action: str, message: Any) -> Change:
    """`message`: Django's, with our element `values`, or a text."""
    fields: dict[str, Any] = {}
    for part in message if isinstance(message, list) else ():
        fields.update(part.get("values", {}))
    return {"object": f"{obj._meta.verbose_name} {obj}", "action": action, "fields": fields}


def _is_edit(message: Any) -> bool:
    """False where an element of ours says so."""
    return not isinstance(message, list) or all(part.get("edit", True) for part in message)


def _plain(value: object) -> object:
    if isinstance(value, models.Model):
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str, list, dict)) else str(value)
