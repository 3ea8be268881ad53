"""Whose session began by single sign-on: such a session ends when single sign-on is switched off, and no
password opens one."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend

PATH = "console.oidc.backend.SignedOn"


class SignedOn(ModelBackend):
    """Django's users and permissions, without its passwords."""

    def authenticate(self, request: Any, username: Any = None, password: Any = None, **kwargs: Any) -> None:  # noqa: ARG002 - Django's names
        return None
