"""Where the gateway may connect to: names resolved off the loop, every address judged before it is used."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from providers.wire import UpstreamError

Lookup = Callable[[str], Sequence[str]]
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# A resolver that needs longer is down; the caller has other targets to try.
DNS_SECONDS = 2.0
# Short enough to follow a provider that moves, long enough that a burst of connections asks once.
CACHE_SECONDS = 30.0
# A gateway has a handful of providers; the bound only keeps odd configurations from growing it for ever.
_CACHE_SIZE = 256
# A dead resolver holds each of these for many seconds, so they are not the loop's own, which others need.
_DNS_THREADS = 4

# Cloud metadata services hand out the machine's credentials, so they are refused whatever a provider's
# settings say. Link-local holds nearly all of them and never a provider.
_NEVER: tuple[_Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",  # AWS, Azure, GCP, OCI, DigitalOcean, ECS and EKS credentials, Tencent
        "fe80::/10",
        "100.100.100.200/32",  # Alibaba
        "168.63.129.16/32",  # Azure's wire server
        "192.0.0.192/32",  # Oracle, classic
        "fd00:ec2::/32",  # AWS over IPv6
        "fd20:ce::254/128",  # GCP over IPv6
        "fd00:c1::a9fe:a9fe/128",  # Oracle over IPv6
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def check_address(address: str, *, allow_private: bool) -> None:
    """Raise UpstreamError "forbidden" for an address (text of an IPv4 or IPv6 address) that must not be
    connected to: metadata services and multicast always, everything that is not public unless
    `allow_private`."""
    for each in _meanings(ipaddress.ip_address(address.partition("%")[0])):
        if any(each in network for network in _NEVER) or each.is_multicast:
            raise UpstreamError("forbidden", f"{address} is never a provider's address", sent=False)
        if not allow_private and not _is_public(each):
            raise UpstreamError("forbidden", f"{address} is not a public address", sent=False)


def _is_public(address: _Address) -> bool:
    site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return address.is_global and not address.is_reserved and not site_local


def _meanings(address: _Address) -> tuple[_Address, ...]:
    """What an address leads to: itself, or the IPv4 address that an IPv6 one wraps (with itself, unless it
    is only another spelling)."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address in _NAT64:
        return (ipaddress.IPv4Address(int(address) & 0xFFFFFFFF),)
    if address.sixtofour is not None:
        return (address, address.sixtofour)
    if address.teredo is not None:
        return (address, *address.teredo)
    return (address,)


def system_lookup(host: str) -> list[str]:
    """The addresses of `host` as the operating system knows them, IPv4 first: a network without working
    IPv6 is common, one without IPv4 refuses it at once. Blocks. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Resolver:
    """Host names to addresses, in threads of its own, with a small cache; one question at a time per name.

    `lookup` is the blocking function behind it.
    """

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._cache: dict[str, tuple[float, Sequence[str]]] = {}
        self._asked: dict[str, asyncio.Future[Sequence[str]]] = {}
        self._threads: ThreadPoolExecutor | None = None

    async def addresses(self, host: str) -> Sequence[str]:
        """The addresses of `host`, at least one. Raises UpstreamError "dns"."""
        if _is_literal(host):
            return (host,)
        known = self._cache.get(host)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        question = self._asked.get(host) or self._ask(host)
        try:
            # Shielded: a caller that leaves must not take the answer from the others.
            async with asyncio.timeout(DNS_SECONDS):
                found = await asyncio.shield(question)
        except TimeoutError:
            raise UpstreamError("dns", f"no answer about {host} in {DNS_SECONDS:g} s", sent=False) from None
        except (OSError, UnicodeError) as error:
            raise UpstreamError("dns", f"{host} does not resolve: {error}", sent=False) from error
        if not found:
            raise UpstreamError("dns", f"{host} has no address", sent=False)
        return found

    def forget(self, host: str) -> None:
        """Ask anew next time: none of the known addresses answered."""
        self._cache.pop(host, None)

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _ask(self, host: str) -> asyncio.Future[Sequence[str]]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_DNS_THREADS, thread_name_prefix="dns")
        loop = asyncio.get_running_loop()
        question = loop.run_in_executor(self._threads, self._lookup, host)
        self._asked[host] = question
        question.add_done_callback(lambda done: self._learn(host, done))
        return question

    def _learn(self, host: str, answer: asyncio.Future[Sequence[str]]) -> None:
        self._asked.pop(host, None)
        # Looked at even when nobody waits any more, so that asyncio does not log it as forgotten.
        if answer.cancelled() or answer.exception() is not None or not answer.result():
            return
        if len(self._cache) >= _CACHE_SIZE:
            del self._cache[next(iter(self._cache))]
        self._cache[host] = (time.monotonic() + CACHE_SECONDS, answer.result())


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
