"""Which base URLs a provider may have: judged when one is saved, as egress judges each connection."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from providers.egress import check_address
from providers.wire import UpstreamError

# Names of metadata services, which hand out the machine's own credentials, and the bare names around them.
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_PRIVATE_SUFFIXES = ("localhost", "local", "internal", "lan", "home.arpa", "localdomain", "svc")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*\Z")

Resolve = Callable[[str], Iterable[str]]


class BaseUrlError(ValueError):
    """A base URL is refused; the text says why, for the person who typed it."""


def check_base_url(url: str, *, allow_private: bool, resolve: Resolve | None = None) -> str:
    """`url` without trailing slashes. Raises BaseUrlError.

    `resolve` gives the addresses of a host name, so that a public name of a private address is refused
    too; it may raise OSError. Connecting judges again, whatever a name means by then.
    """
    host = _host_of(url)
    if host in _METADATA_NAMES or host.startswith("instance-data."):
        raise BaseUrlError("a cloud's metadata service is never a provider")
    literal = _literal(host)
    if literal is not None:
        _judge([literal], allow_private=allow_private)
        return url.rstrip("/")
    if not _HOST.match(host):
        raise BaseUrlError("the host name is not valid")
    if not allow_private and _is_private_name(host):
        raise BaseUrlError(
            "the host is on a private network; tick 'allow private addresses' if that is meant"
        )
    if resolve is not None:
        try:
            addresses = list(resolve(host))
        except (OSError, UnicodeError):
            # A name that does not resolve now may later, and is judged then.
            addresses = []
        _judge(addresses, allow_private=allow_private)
    return url.rstrip("/")


def _host_of(url: str) -> str:
    if not url.isprintable() or any(character in url for character in ' \\<>"{}|^`'):
        raise BaseUrlError("the URL holds a character that no URL has")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BaseUrlError("the URL cannot be read") from error
    if parts.scheme not in ("http", "https"):
        raise BaseUrlError("the URL must begin with https:// or http://")
    if "@" in parts.netloc:
        raise BaseUrlError("a URL must not hold a user or password: enter the key as a credential")
    if "?" in url or "#" in url:
        raise BaseUrlError("a base URL has neither a query nor a fragment")
    if any(segment in (".", "..") for segment in parts.path.lower().replace("%2e", ".").split("/")):
        raise BaseUrlError("the path must not hold dots as a segment")
    if port == 0:
        raise BaseUrlError("the port cannot be 0")
    host = (parts.hostname or "").rstrip(".")
    if not host:
        raise BaseUrlError("the URL has no host")
    try:
        return host.encode("idna").decode("ascii").lower() if not host.isascii() else host
    except UnicodeError as error:
        raise BaseUrlError("the host name is not valid") from error


def _literal(host: str) -> str | None:
    """The address that `host` is, in the spellings that C libraries take too: 0x7f.1, 2852039166, 0177.1."""
    for family in (socket.AF_INET6, socket.AF_INET):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, host.partition("%")[0]))
        except OSError:
            continue
    if re.match(r"[0-9]", host.rpartition(".")[2]):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))
        except OSError:
            raise BaseUrlError("the host looks like an address and is not a valid one") from None
    return None


def _judge(addresses: Iterable[str], *, allow_private: bool) -> None:
    for address in addresses:
        try:
            check_address(address, allow_private=True)
        except UpstreamError:
            raise BaseUrlError("the address is a metadata service or no host's: never a provider") from None
        try:
            check_address(address, allow_private=allow_private)
        except UpstreamError:
            raise BaseUrlError(
                "the address is private; tick 'allow private addresses' if that is meant"
            ) from None


def _is_private_name(host: str) -> bool:
    return any(host == suffix or host.endswith("." + suffix) for suffix in _PRIVATE_SUFFIXES)
