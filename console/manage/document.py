"""The OpenAPI document: of the management API alone, how one authenticates, and what every change may be
answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

Endpoint = tuple[str, str, str, Any]


def only_manage(endpoints: Iterable[Endpoint], **_: Any) -> list[Endpoint]:
    """Of all addresses those of this API."""
    return [each for each in endpoints if each[0].startswith("/manage/v1/")]


# What changes the configuration, by the first word of its address; and what of it waits for nobody.
_CHANGING = ("config", "providers", "routes", "teams", "limits", "budgets", "prices", "revisions", "keys")
_AT_ONCE = ("config/plan", "/revoke", "/forget-captures", "/test")
_KEPT = {
    "description": "Where risky changes take two people (docs/approval.md): kept as a draft, which awaits "
    "approval by somebody else. A key that is issued is in this answer alone, and works from then on.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "detail": {"type": "string"},
                    "draft": {"type": "integer"},
                    "risks": {"type": "array", "items": {"type": "string"}},
                    "revision": {"type": "integer", "nullable": True},
                    "prefix": {"type": "string"},
                    "key": {"type": "string"},
                },
                "required": ["detail", "draft", "risks", "revision"],
            }
        }
    },
}


def what_may_be_kept(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Each address that changes the configuration may answer that this awaits somebody else."""
    for address, operations in result["paths"].items():
        changes = address.split("/")[3] in _CHANGING and not address.endswith(_AT_ONCE)
        for method, operation in operations.items():
            if method != "get" and (changes or address.endswith("/publish")):
                operation["responses"]["202"] = _KEPT
    return result


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # the library's own way to register
    """A management token."""

    target_class = "console.manage.access.TokenAuthentication"
    name = "token"

    def get_security_definition(self, _auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A management token (gwm-...)."}
