"""The pages of single sign-on: the login page with its button, the way to the identity provider and back, and
logging out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import cast
from urllib.parse import urlencode

from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_lockout_response
from django.apps import apps
from django.contrib import admin
from django.contrib.auth import BACKEND_SESSION_KEY, login
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from accounts.audit import entry
from accounts.audit_access import SIGN_ON
from console.apps import ConsoleConfig
from console.oidc import backend, farewell
from console.oidc.errors import RefusedError, SignInError, UnavailableError
from console.oidc.id_token import Expected, read
from console.oidc.identity_provider import IdentityProvider
from console.oidc.people import admit
from console.oidc.settings import OidcSettings
from console.oidc.trip import Trip, forget, keep, kept_trip, new_trip, redirect_uri

logger = logging.getLogger(__name__)

# What an identity provider may say instead of a code: RFC 6749 and OpenID Connect. Anything else is a text of
# whoever made the link.
_ERRORS = frozenset(
    [
        "access_denied",
        "invalid_request",
        "unauthorized_client",
        "unsupported_response_type",
        "invalid_scope",
        "server_error",
        "temporarily_unavailable",
        "interaction_required",
        "login_required",
        "account_selection_required",
        "consent_required",
    ]
)
_MOST_CODE = 4096


def sign_in() -> IdentityProvider | None:
    """The identity provider; None: single sign-on is not configured."""
    return cast(ConsoleConfig, apps.get_app_config("console")).sign_in


@never_cache
def login_page(request: HttpRequest) -> HttpResponseBase:
    """Django's, with a button; without passwords where they are switched off."""
    provider = sign_in()
    if provider is None:
        return admin.site.login(request)
    settings = provider.settings
    if settings.only and request.method == "POST":
        return _page(request, 403, "Passwords are switched off here. Sign in by the button.")
    # By the address that the identity provider sends browsers back to, so that the cookie is there, too.
    start = f"{settings.public_url}{reverse('oidc_start')}?{urlencode({'next': request.GET.get('next', '')})}"
    shown = {"label": settings.label, "url": start, "only": settings.only}
    return admin.site.login(request, {"single_sign_on": shown})


@require_GET
@never_cache
def start(request: HttpRequest) -> HttpResponseBase:
    """Sends the browser to the identity provider."""

    def go(provider: IdentityProvider) -> HttpResponseBase:
        trip = new_trip(request.GET.get("next", ""))
        response = HttpResponseRedirect(trip.address(provider.metadata(), provider.settings))
        keep(response, trip, provider.settings)
        return response

    return _guarded(request, go)


@require_GET
@never_cache
def callback(request: HttpRequest) -> HttpResponseBase:
    """Where the identity provider sends the browser back to."""

    def come(provider: IdentityProvider) -> HttpResponseBase:
        trip = kept_trip(request)
        if trip is None:
            # Anybody can make a browser come here with anything, so it counts against nobody.
            raise _StrayError("no sign-in of this browser waits for this answer")
        code = _code(request, provider)
        user, token = _known(provider, trip, code)
        login(request, user, backend=backend.PATH)
        farewell.remember(request, token, provider.settings)
        # A moment and no span: each write to a session would begin its time anew, and whoever has left the
        # identity provider could stay for ever.
        age = timedelta(seconds=request.session.get_session_cookie_age())
        request.session.set_expiry(timezone.now() + age)
        # A page and no redirect: on one that began elsewhere a browser sends no Strict cookie.
        response = render(request, "admin/console/signed_in.html", {"next": trip.next})
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    response = _guarded(request, come)
    if kept_trip(request) is not None:
        forget(response)
    return response


@never_cache
def logout_page(request: HttpRequest) -> HttpResponseBase:
    """Django's. Who came by the identity provider is sent there afterwards, where that is wanted; whatever
    becomes of it there, the session here is over."""
    provider = sign_in()
    came_by_it = request.session.get(BACKEND_SESSION_KEY) == backend.PATH
    hint = farewell.remembered(request)
    response = cast(HttpResponse, admin.site.logout(request))
    if provider is None or not provider.settings.logout or not came_by_it or request.method != "POST":
        return response
    try:
        there = farewell.address(provider.metadata(), provider.settings, hint)
    except UnavailableError as error:
        logger.warning("single sign-on: nobody is logged out at the provider: %s", error.reason)
        return response
    if not there:
        return response
    # A page and no redirect: the pages' policy lets a form lead to this gateway alone.
    page = render(request, "admin/console/signed_out.html", {"next": there, "label": provider.settings.label})
    page.headers["Referrer-Policy"] = "no-referrer"
    return page


class _StrayError(SignInError):
    suspicious = False


def _code(request: HttpRequest, provider: IdentityProvider) -> str:
    issuer = request.GET.get("iss")
    if issuer != provider.settings.issuer and (issuer is not None or provider.metadata().names_itself):
        raise _StrayError("the answer is of another identity provider")
    error = request.GET.get("error")
    if error is not None:
        name = error if error in _ERRORS else "an error"
        raise _StrayError(f"the identity provider says {name}", f"The identity provider says: {name}.")
    code = request.GET.get("code", "")
    if not 0 < len(code) <= _MOST_CODE:
        raise _StrayError("the answer has no code")
    return code


def _known(provider: IdentityProvider, trip: Trip, code: str) -> tuple[User, str]:
    """Who it is, and the token that says so."""
    settings = provider.settings
    token = provider.redeem(code, trip.verifier, redirect_uri(settings))
    expected = Expected(settings.issuer, settings.client_id, trip.nonce)
    claims = read(token, provider.keys, expected, time.time())
    trip.spend()
    return admit(claims, settings), token


def _guarded(
    request: HttpRequest, answer: Callable[[IdentityProvider], HttpResponseBase]
) -> HttpResponseBase:
    """The answer, or a page that says why there is none. Who failed too often waits, as with passwords."""
    provider = sign_in()
    if provider is None:
        raise Http404
    # By address alone: of a name nothing is known before the end.
    who = {"username": f"{SIGN_ON} from {request.META.get('REMOTE_ADDR', '')}"}
    if not AxesProxyHandler.is_allowed(request, who):
        return cast(HttpResponse, get_lockout_response(request, credentials=who))
    try:
        return answer(provider)
    except SignInError as error:
        logger.warning("single sign-on: %s", error.reason)
        if error.suspicious:
            user_login_failed.send(__name__, credentials={**who, "why": error.reason}, request=request)
        elif isinstance(error, RefusedError):
            entry(SIGN_ON, "login refused", {"why": error.reason}, author="nobody").save()
        return _page(request, error.status, error.words)


def _page(request: HttpRequest, status: int, words: str) -> HttpResponse:
    provider = sign_in()
    context = {
        **admin.site.each_context(request),
        "title": "Not signed in",
        "words": words,
        "again": _login_address(provider.settings) if provider else reverse("admin:login"),
    }
    response = render(request, "admin/console/not_signed_in.html", context, status=status)
    response.headers["Referrer-Policy"] = "no-referrer"
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response


def _login_address(settings: OidcSettings) -> str:
    return settings.public_url + reverse("admin:login")
