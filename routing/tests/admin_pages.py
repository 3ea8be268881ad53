"""What the tests of the admin share: a browser without scripts, and the data of its forms."""

from __future__ import annotations

import csv
import io
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from routing.models import Revision

ALL = ["routing.view_revision"] + [
    f"{app}.{verb}_{model}"
    for app, model in (
        ("providers", "provider"),
        ("providers", "credential"),
        ("providers", "cataloguemodel"),
        ("routing", "route"),
        ("routing", "target"),
        ("accounts", "team"),
        ("accounts", "apikey"),
    )
    for verb in ("view", "add", "change", "delete")
]


def browser(user: User) -> Client:
    """Somebody who is logged in."""
    client = Client()
    client.force_login(user)
    return client


def page(name: str, *args: Any) -> str:
    return reverse(f"admin:{name}", args=args)


def form_of(client: Client, url: str) -> dict[str, Any]:
    """What a browser would send if nothing were changed on this page: every field with its value."""
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    context = response.context
    data: dict[str, Any] = {}
    forms = [context["adminform"].form]
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    for form in forms:
        for bound in form:
            value = bound.value()
            widget = bound.field.widget
            if isinstance(value, bool) or value is None:
                if value:
                    data[bound.html_name] = "on"
                continue
            if hasattr(widget, "decompress"):
                parts = widget.decompress(value)
                data |= {f"{bound.html_name}_{n}": str(part) for n, part in enumerate(parts) if part}
                continue
            data[bound.html_name] = value
            if bound.field.show_hidden_initial:
                data[bound.html_initial_name] = value
    return data


def errors_of(response: Any) -> str:
    """All that a form's page complains about."""
    assert response.status_code == 200
    context = response.context
    found = [str(context["adminform"].form.errors)]
    for inline in context["inline_admin_formsets"]:
        found += [str(inline.formset.errors), str(inline.formset.non_form_errors())]
    return " ".join(found)


def published() -> list[Revision]:
    """The revisions, first to last."""
    return list(Revision.objects.filter(number__gt=0).order_by("number"))


def only_revision() -> Revision:
    (found,) = published()
    return found


def act(client: Client, name: str, action: str, *pks: Any) -> Any:
    """Choose an action for these rows of a list."""
    response = client.post(page(name), {"action": action, "_selected_action": list(pks)}, follow=True)
    assert response.status_code == 200
    return response


def taken(answer: Any) -> list[list[str]]:
    """The rows of a stream of CSV."""

    async def read() -> str:
        return b"".join([part async for part in answer.streaming_content]).decode()

    assert answer.status_code == 200
    return list(csv.reader(io.StringIO(async_to_sync(read)())))
