"""The admin's page that explains a request, and the same as JSON, for staff who may see routes and keys."""

from __future__ import annotations

from typing import Any

import msgspec
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.keys import MIN_CHOSEN, display_prefix
from accounts.ledger.charge import dollars
from accounts.rights import Action, may
from console.apps import running
from console.asking import SURFACES, Asked, AskingError, answered, sight_of
from pipeline.explanation import Allowance, Explanation
from providers.apps import vault


@never_cache
@require_http_methods(["GET", "POST"])
def explain_page(request: HttpRequest) -> HttpResponse:
    """The form, and below it what it asks for. A body or a whole key comes by POST alone: addresses are
    logged."""
    asked = _asked(request)
    _check(request, asked)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Explain a request",
        "asked": asked,
        # No page holds a whole key.
        "key": display_prefix(asked.key) if _is_whole(asked.key) else asked.key,
        "body": asked.body.decode("utf-8", "replace"),
        "surfaces": SURFACES,
    }
    if asked.key or asked.model or asked.request or asked.body:
        try:
            said = _answered(request, asked)
        except AskingError as error:
            context["problem"] = str(error)
        else:
            context |= {"said": said, **_shown(said)}
    return TemplateResponse(request, "admin/console/explain.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
def explain_json(request: HttpRequest) -> HttpResponse:
    """The same for programs with a session of staff: 401, 403, or 400 with `error`."""
    if not admin.site.has_permission(request):
        return JsonResponse({"error": "Log in to the admin first."}, status=401)
    asked = _asked(request)
    try:
        _check(request, asked)
        said = _answered(request, asked)
    except PermissionDenied:
        return JsonResponse({"error": "You may not see routes, keys or requests."}, status=403)
    except AskingError as error:
        return JsonResponse({"error": str(error)}, status=400)
    return JsonResponse(msgspec.to_builtins(said))


def _asked(request: HttpRequest) -> Asked:
    given = request.POST if request.method == "POST" else request.GET
    names = ("key", "model", "surface", "request", "revision", "draft")
    words = {name: given.get(name, "").strip() for name in names}
    return Asked(**words, body=request.POST.get("body", "").encode("utf-8", "surrogatepass"))


def _check(request: HttpRequest, asked: Asked) -> None:
    user: Any = request.user
    # A request of the ledger tells of somebody's use.
    if asked.draft and not may(user, Action.READ_DRAFTS):
        raise PermissionDenied
    if not may(user, Action.EXPLAIN) or (asked.request and not may(user, Action.READ_REQUESTS)):
        raise PermissionDenied


def _answered(request: HttpRequest, asked: Asked) -> Explanation:
    """What would become of it. Raises AskingError."""
    if request.method != "POST" and _is_whole(asked.key):
        raise AskingError(
            "A whole key may not stand in an address, because addresses are logged and kept: ask by its "
            "prefix or its id. If others may see this address, revoke the key."
        )
    return answered(asked, vault(), running(), sight_of(request.user))


def _is_whole(key: str) -> bool:
    """True for what is longer than any prefix and any id: no key is shorter."""
    return len(key) >= MIN_CHOSEN


def _shown(said: Explanation) -> dict[str, Any]:
    return {
        "rows": [
            {
                "said": each,
                "share": f"{each.first:.0%}" if each.state == "candidate" else "",
                "cost": dollars(each.cost),
                "dropped": ", ".join(each.dropped or ()),
                "limits": [_allowance(limit) for limit in each.limits],
            }
            for each in said.targets
        ],
        "allowances": [_allowance(each) for each in said.limits],
    }


def _allowance(said: Allowance) -> dict[str, str]:
    def words(amount: int | None) -> str:
        if amount is None:
            return "not known here"
        return dollars(amount) if said.unit == "nano-dollars" else f"{amount:,} {said.unit}"

    fits = {None: "not known here", True: "fits", False: "no room"}[said.fits]
    return {
        "what": f"{said.what} of {said.whose}",
        "amount": words(said.amount),
        "used": words(said.used),
        "left": words(said.left),
        "asks": "unknown price" if said.asks is None else words(said.asks),
        "fits": fits if said.hard else f"{fits} (soft: refuses nothing)",
    }
