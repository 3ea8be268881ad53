"""Reads the address of a Redis: one server, a master that Sentinels name, or a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlencode

from redis.asyncio.connection import parse_url

Form = Literal["single", "sentinel", "cluster"]

_PORTS = {"sentinel": 26379, "cluster": 6379}
_MANY = re.compile(r"(rediss?)\+(sentinel|cluster)://([^/?#]*)([^?#]*)(?:\?(.*))?", re.DOTALL)
_NODE = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\],]+)(?::([0-9]{1,5}))?")
# What may be said of the connections to many, after a question mark; the library reads more for one server.
_TLS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_PLAIN = ("client_name", "health_check_interval", "socket_keepalive")
# For the Sentinels, which have passwords of their own.
_SENTINEL_LOGIN = ("sentinel_username", "sentinel_password")


class RedisAddressError(ValueError):
    """What is wrong with an address. No part of it that may be a secret is repeated."""


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis is. `url`: of one server, as the library reads it.

    `nodes`: the Sentinels, or nodes of the cluster by which the others are found. `options`: for connections
    to servers, with login, database and TLS. `sentinel_options`: for those to Sentinels.
    """

    form: Form
    url: str = field(default="", repr=False)
    nodes: tuple[tuple[str, int], ...] = ()
    master: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_address(text: str) -> RedisAddress:
    """Raises RedisAddressError."""
    found = _MANY.fullmatch(text)
    if found is None:
        return _single(text)
    scheme, form, place, path, query = found.groups()
    login, _, hosts = place.rpartition("@")
    said = dict(parse_qsl(query or "", keep_blank_values=True))
    there = {name: said.pop(name) for name in _SENTINEL_LOGIN if form == "sentinel" and name in said}
    options = _options(scheme, login, said)
    nodes = tuple(_node(each, _PORTS[form]) for each in hosts.split(","))
    if form == "cluster":
        if path not in ("", "/", "/0"):
            raise RedisAddressError("a cluster has one database: nothing follows its hosts")
        return RedisAddress("cluster", nodes=nodes, options=options)
    master, options["db"] = _master(path)
    beside = {name: value for name, value in options.items() if name.startswith("ssl")}
    beside |= {name.removeprefix("sentinel_"): value for name, value in there.items()}
    return RedisAddress("sentinel", nodes=nodes, master=master, options=options, sentinel_options=beside)


def check_address(text: str) -> str:
    """The address as it is. Raises RedisAddressError."""
    read_address(text)
    return text


def _single(text: str) -> RedisAddress:
    try:
        parse_url(text)
    except ValueError:
        raise RedisAddressError(
            "not an address such as redis://host:6379/0, rediss://host:6379/0, unix:///path, "
            "redis+sentinel://host:26379,host:26379/master/0 or redis+cluster://host:6379,host:6379"
        ) from None
    return RedisAddress("single", url=text)


def _options(scheme: str, login: str, said: Mapping[str, str]) -> dict[str, Any]:
    """What each server is reached with."""
    tls = scheme == "rediss"
    for name in said:
        if name in _TLS and not tls:
            raise RedisAddressError(f"{name} is for rediss+…://, which is TLS")
        if name not in _TLS + _PLAIN:
            # As it stands in the address, which has no secret in such a place.
            raise RedisAddressError(f"no option is called {name[:40]!r}")
    try:
        # The library's own reading of one server's address.
        options = dict(parse_url(f"redis://{login}{'@' if login else ''}host?{urlencode(said)}"))
    except ValueError:
        raise RedisAddressError("an option after its question mark has no such value") from None
    del options["host"]
    return {**options, "ssl": True} if tls else options


def _master(path: str) -> tuple[str, int]:
    name, _, database = path.removeprefix("/").partition("/")
    if not name:
        raise RedisAddressError("names no master: redis+sentinel://host:26379/NAME/0")
    if not re.fullmatch(r"[0-9]{0,5}", database):
        raise RedisAddressError("what follows the master's name is the number of a database")
    return unquote(name), int(database or 0)


def _node(text: str, port: int) -> tuple[str, int]:
    found = _NODE.fullmatch(text.strip())
    if found is None or not 0 < int(found[2] or port) < 65536:
        # Not repeated: it may be a piece of a password whose @ or / was not written as %40 or %2F.
        raise RedisAddressError("hosts are written host:port, with commas between them")
    return found[1].strip("[]"), int(found[2] or port)
