"""The addresses of single sign-on, below the admin's."""

from __future__ import annotations

from django.urls import path

from console.oidc.views import callback, login_page, logout_page, start

urlpatterns = [
    # Before the admin's own of these addresses.
    path("login/", login_page),
    path("logout/", logout_page),
    path("oidc/start/", start, name="oidc_start"),
    path("oidc/callback/", callback, name="oidc_callback"),
]
