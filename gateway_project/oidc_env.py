"""What the environment says of single sign-on, checked. Without an issuer there is none."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from console.oidc.settings import OidcSettings, is_safe_url

NAMES = (
    "OIDC_CLIENT_ID",
    "OIDC_CLIENT_SECRET",
    "OIDC_GROUPS_CLAIM",
    "OIDC_ISSUER",
    "OIDC_LABEL",
    "OIDC_LOGOUT",
    "OIDC_ONLY",
    "OIDC_ROLES",
    "OIDC_SCOPES",
)
_PREFIX = "LLM_GATEWAY_"
_SCOPES = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+( [\x21\x23-\x5b\x5d-\x7e]+)*")
_Wrong = Callable[[str, str], None]
# As long as its column.
_MOST_ISSUER = 255


def oidc_settings(
    environ: Mapping[str, str], public_url: str | None, problems: list[str]
) -> OidcSettings | None:
    """The settings; None: no single sign-on. `problems` grows by one line for each value that is wrong; no
    secret is in it."""
    said = {name: environ.get(_PREFIX + name, "").strip() for name in NAMES}

    def wrong(name: str, why: str) -> None:
        problems.append(f"{_PREFIX}{name}: {why}")

    if not any(said.values()):
        return None
    _check(said, wrong)
    if public_url is None:
        wrong("PUBLIC_URL", "single sign-on needs it: the identity provider sends browsers back there")
    scopes = said["OIDC_SCOPES"] or "openid profile email"
    return OidcSettings(
        issuer=said["OIDC_ISSUER"],
        client_id=said["OIDC_CLIENT_ID"],
        secret=said["OIDC_CLIENT_SECRET"] or None,
        public_url=public_url or "",
        label=said["OIDC_LABEL"] or "single sign-on",
        scopes=scopes,
        groups_claim=said["OIDC_GROUPS_CLAIM"] or "groups",
        roles=_roles(said["OIDC_ROLES"], wrong),
        only=said["OIDC_ONLY"].lower() == "true",
        logout=said["OIDC_LOGOUT"].lower() == "true",
    )


def _check(said: Mapping[str, str], wrong: _Wrong) -> None:
    issuer = said["OIDC_ISSUER"]
    if not is_safe_url(issuer) or "?" in issuer or len(issuer) > _MOST_ISSUER:
        wrong("OIDC_ISSUER", "not an https:// URL without a query")
    if not said["OIDC_CLIENT_ID"]:
        wrong("OIDC_CLIENT_ID", "single sign-on needs it")
    for name in ("OIDC_ONLY", "OIDC_LOGOUT"):
        if said[name].lower() not in ("", "true", "false"):
            wrong(name, "neither true nor false")
    scopes = said["OIDC_SCOPES"]
    if scopes and (not _SCOPES.fullmatch(scopes) or "openid" not in scopes.split()):
        wrong("OIDC_SCOPES", "expected names with spaces between, openid among them")


def _roles(text: str, wrong: _Wrong) -> dict[str, frozenset[str]]:
    """`group=role` with semicolons between. A group's own name may have `=` and commas, as LDAP's have."""
    found: dict[str, frozenset[str]] = {}
    for each in filter(None, (part.strip() for part in text.split(";"))):
        group, _, role = (part.strip() for part in each.rpartition("="))
        if not group or not role:
            wrong("OIDC_ROLES", f"{each!r} is not of the form group=role")
            continue
        found[group] = found.get(group, frozenset()) | {role}
    if not found:
        wrong("OIDC_ROLES", "expected group=role, with semicolons between: without a role nobody is let in")
    return found
