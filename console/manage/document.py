"""The OpenAPI document: of the management API alone, and how one authenticates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

Endpoint = tuple[str, str, str, Any]


def only_manage(endpoints: Iterable[Endpoint], **_: Any) -> list[Endpoint]:
    """Of all addresses those of this API."""
    return [each for each in endpoints if each[0].startswith("/manage/v1/")]


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the library's own way to register
    """A management token."""

    target_class = "console.manage.access.TokenAuthentication"
    name = "token"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A management token (gwm-...)."}
