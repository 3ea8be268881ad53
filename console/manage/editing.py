"""Rows added, changed and deleted as the admin does it: by its own pages, so that rights, checks, what is
done beside, revisions and the audit log are the same, and nothing of it is written twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.forms import BoundField
from django.http import HttpRequest, QueryDict
from rest_framework.exceptions import ValidationError

from console.manage.access import Refused
from routing.admin_base import one_revision
from routing.freeze import refuse_while_frozen


def page_of(model: type[Model]) -> Any:
    """The admin's page of a table."""
    return admin.site.get_model_admin(model)


def tag_of(row: Model) -> str:
    """An ETag of a row and of what stands on its page: another one as soon as any column is another, a sealed
    secret too."""
    parts: list[Any] = [list(type(row)._default_manager.filter(pk=row.pk).values_list())]
    for inline in page_of(type(row)).inlines:
        rows = inline.model._default_manager.filter(**{_link(inline, type(row)): row.pk}).order_by("pk")
        parts.append(list(rows.values_list()))
    return f'"{sha256(orjson.dumps(parts, default=str)).hexdigest()[:32]}"'


@dataclass(slots=True)
class _Notes:
    """Takes what a page says to people, in the place of Django's messages."""

    said: list[str] = field(default_factory=list)

    def add(self, _level: int, message: object, _extra_tags: str = "") -> None:
        self.said.append(str(message))


def save(
    request: HttpRequest, model: type[Model], row: Model | None, said: Mapping[str, Any]
) -> tuple[Model, list[str]]:
    """Add a row, or change what is said of one; the row, and what the page would have told. Of rows that
    stand on the page (`{"targets": [...]}`) those that are there and not said go; one is known by its `id`.

    Raises PermissionDenied, FrozenError, ValidationError with the form's own words.
    """
    page = page_of(model)
    if getattr(page, "is_edit", False):
        # Before its form says so, as one of its mistakes.
        refuse_while_frozen()
    change = row is not None
    if not (page.has_change_permission(request, row) if change else page.has_add_permission(request)):
        raise PermissionDenied
    form_class = page.get_form(request, row, change=change)
    parts = [
        _Part(request, inline, form_set, row or model(), said)
        for form_set, inline in page.get_formsets_with_inlines(request, row)
    ]
    _settable(form_class, row, said, {part.prefix for part in parts})
    data = QueryDict(mutable=True)
    _fill(data, form_class(instance=row), said)
    for part in parts:
        part.fill(data)
    form = form_class(data, {}, instance=row)
    valid = form.is_valid()
    sets = [part.bound(data, form.instance) for part in parts]
    if not all([valid, *(each.is_valid() for each in sets)]):
        raise ValidationError(_errors(form, sets))
    if not (form.has_changed() or any(each.has_changed() for each in sets)) and change:
        return form.instance, []
    with _noting(request) as notes, one_revision(request):
        done = page.save_form(request, form, change)
        page.save_model(request, done, form, change)
        page.save_related(request, form, sets, change)
        message = page.construct_change_message(request, form, sets, not change)
        (page.log_change if change else page.log_addition)(request, done, message)
    return done, notes


def delete(request: HttpRequest, row: Model) -> None:
    """Delete a row. Raises PermissionDenied; Refused where something else needs it."""
    page = page_of(type(row))
    if not page.has_delete_permission(request, row):
        raise PermissionDenied
    _, _, needed, protected = page.get_deleted_objects([row], request)
    if protected:
        raise Refused(409, "Something else needs it.")
    if needed:
        raise PermissionDenied
    with _noting(request), one_revision(request):
        page.log_deletions(request, type(row)._default_manager.filter(pk=row.pk))
        page.delete_model(request, row)


@contextmanager
def _noting(request: Any) -> Iterator[list[str]]:
    """What the page says is collected and not kept for the session's next page."""
    before, notes = request._messages, _Notes()
    request._messages = notes
    try:
        yield notes.said
    finally:
        request._messages = before


def _link(inline: Any, model: type[Model]) -> str:
    fields = inline.model._meta.fields
    return next(str(each.name) for each in fields if each.is_relation and each.related_model is model)


def _settable(form_class: Any, row: Model | None, said: Mapping[str, Any], parts: set[str]) -> None:
    """What this user's form does not have he may not set, unless it is so already."""
    refused = [
        name
        for name, value in said.items()
        if name not in form_class.base_fields and name not in parts and getattr(row, name, None) != value
    ]
    if refused:
        raise Refused(403, f"You may not set this: {', '.join(sorted(refused))}.")


def _fill(data: QueryDict, form: Any, said: Mapping[str, Any], number: str = "") -> None:
    """Write a form into `data` as a browser would send it: what is said, and else what is there."""
    for bound in form:
        value = bound.field.prepare_value(said[bound.name]) if bound.name in said else bound.value()
        _put(data, bound, value, number)


def _put(data: QueryDict, bound: BoundField, value: Any, number: str) -> None:
    name = bound.html_name.replace("__prefix__", number)
    widget: Any = bound.field.widget
    if hasattr(widget, "decompress"):
        for index, part in enumerate(widget.decompress(value)):
            data[f"{name}_{index}"] = "" if part is None else str(part)
    elif isinstance(value, bool):
        if value:
            data[name] = "on"
    else:
        data[name] = "" if value is None else str(value)
    if bound.field.show_hidden_initial:
        data[f"initial-{name}"] = data.get(name, "")


class _Part:
    """Rows that stand on a row's page: what is there, and what is said of them."""

    def __init__(
        self, request: HttpRequest, inline: Any, form_set: Any, owner: Model, said: Mapping[str, Any]
    ) -> None:
        self._set = form_set
        self.prefix: str = form_set.get_default_prefix()
        self._rows = inline.get_queryset(request)
        self._owner = owner
        self._said: Sequence[Mapping[str, Any]] | None = said.get(self.prefix)
        if self._said is not None:
            self._permitted(request, inline)

    def _permitted(self, request: HttpRequest, inline: Any) -> None:
        """Django leaves what one may not do; here it is said."""
        owner = None if self._owner._state.adding else self._owner
        verbs = [inline.has_add_permission(request, owner)]
        if owner is not None:
            verbs += [
                inline.has_change_permission(request, owner),
                inline.has_delete_permission(request, owner),
            ]
        if not all(verbs):
            raise PermissionDenied

    def fill(self, data: QueryDict) -> None:
        """Write the forms of these rows into `data`."""
        blank = self._made()
        there = list(blank.initial_forms)
        said = list(self._said) if self._said is not None else [{"id": form.instance.pk} for form in there]
        by_id = {each["id"]: each for each in said if each.get("id") is not None}
        if len(by_id) != sum(each.get("id") is not None for each in said):
            raise ValidationError({self.prefix: ["An id is named twice."]})
        if strange := by_id.keys() - {form.instance.pk for form in there}:
            raise ValidationError({self.prefix: [f"Nothing here has the id {min(strange)}."]})
        for form in there:
            data[f"{form.prefix}-id"] = str(form.instance.pk)
            wanted = by_id.get(form.instance.pk)
            _fill(data, form, wanted or {})
            data[f"{form.prefix}-id"] = str(form.instance.pk)
            if wanted is None:
                data[f"{form.prefix}-DELETE"] = "on"
        new = [each for each in said if each.get("id") is None]
        if not all(new):
            raise ValidationError({self.prefix: ["Each says something."]})
        for number, each in enumerate(new, len(there)):
            _fill(data, blank.empty_form, each, str(number))
        data[f"{self.prefix}-INITIAL_FORMS"] = str(len(there))
        data[f"{self.prefix}-TOTAL_FORMS"] = str(len(there) + len(new))

    def bound(self, data: QueryDict, owner: Model) -> Any:
        """The forms with what is in `data`."""
        return self._made(data=data, files={}, instance=owner)

    def _made(self, **more: Any) -> Any:
        settings = {"instance": self._owner, "prefix": self.prefix, "queryset": self._rows, **more}
        return self._set(**settings)


def _errors(form: Any, sets: Sequence[Any]) -> dict[str, Any]:
    """All that the forms complain of; what is about no field stands under ""."""
    found = _named(form.errors)
    for each in sets:
        lines = [str(words) for words in each.non_form_errors()]
        for number, errors in enumerate(each.errors):
            lines += [f"{number}: {name}: {' '.join(words)}" for name, words in _named(errors).items()]
        if lines:
            found[each.prefix] = lines
    return found


def _named(errors: Any) -> dict[str, Any]:
    return {
        ("" if name == "__all__" else name): [str(one) for one in words] for name, words in errors.items()
    }
