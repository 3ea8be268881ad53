"""What is configured of single sign-on, as one value that the composition root hands in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Plain HTTP is for an identity provider on this machine, as in tests: on a network anybody could be one.
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """`public_url`: where browsers reach this gateway. `secret`: None for a public client. `label`: what the
    button says. `roles`: of each group at the identity provider the Django groups that it gives. `only`:
    whether passwords are switched off. `logout`: whether logging out here does so at the provider, too."""

    issuer: str
    client_id: str
    secret: str | None = field(repr=False)
    public_url: str
    label: str
    scopes: str
    groups_claim: str
    roles: Mapping[str, frozenset[str]]
    only: bool
    logout: bool


def is_safe_url(url: object) -> bool:
    """Whether secrets or a browser may be sent there: HTTPS, or HTTP on this machine, with nothing in it that
    an endpoint does not have."""
    if not isinstance(url, str) or len(url) > 2000 or not url.isascii() or not url.isprintable():
        return False
    if any(character in url for character in ' \\<>"{}|^`#'):
        return False
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or port == 0 or "@" in parts.netloc:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
