"""Which addresses may be reached, judged where the connection is made, so that no name talks its way in."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading

import pytest

import providers.egress
from providers.egress import Resolver, check_address, system_lookup
from providers.tests.asking import ask, fetch
from providers.transport import HttpTransport, PooledTransport
from providers.wire import UpstreamError
from tests.support.fake_upstream import FakeUpstream

PRIVATE = [
    "127.0.0.1",
    "127.255.0.3",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "0.0.0.0",
    "0.1.2.3",
    "100.64.0.1",  # carrier-grade NAT
    "198.18.0.1",
    "192.0.2.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "2002:a9fe:a9fe::",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "2001:db8::1",
]
NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.1.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "::ffff:169.254.169.254",
    "::ffff:100.100.100.200",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%eth0",
    "224.0.0.1",
    "ff02::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "104.18.6.192", "2606:4700::6810:84e5", "64:ff9b::101:101", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", PRIVATE)
def test_s20_a_private_address_is_refused(address: str) -> None:
    with pytest.raises(UpstreamError) as raised:
        check_address(address, allow_private=False)
    assert (raised.value.reason, raised.value.sent) == ("forbidden", False)


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("allow_private", [False, True])
def test_s20_a_metadata_address_is_always_refused(address: str, allow_private: bool) -> None:
    with pytest.raises(UpstreamError) as raised:
        check_address(address, allow_private=allow_private)
    assert raised.value.reason == "forbidden"


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_passes(address: str) -> None:
    check_address(address, allow_private=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "fd12:3456::1", "100.64.0.1"])
def test_a_private_address_passes_where_allowed(address: str) -> None:
    check_address(address, allow_private=True)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "0.0.0.0",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "127.1",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
    ],
)
async def test_s20_no_spelling_of_loopback_gets_through(host: str, upstream: FakeUpstream) -> None:
    transport = HttpTransport()
    with pytest.raises(UpstreamError) as raised:
        await transport.send(ask(f"http://{host}:{upstream.port}/", allow_private=False))
    assert raised.value.reason == "forbidden"
    assert upstream.open_connections == 0
    await transport.aclose()


@pytest.mark.parametrize("host", ["2852039166", "0xA9FEA9FE", "169.254.43518", "[::ffff:a9fe:a9fe]"])
async def test_s20_no_spelling_of_the_metadata_service_gets_through(host: str) -> None:
    transport = HttpTransport()
    with pytest.raises(UpstreamError) as raised:
        await transport.send(ask(f"http://{host}/latest/meta-data/"))
    assert raised.value.reason == "forbidden"
    await transport.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "ftp://127.0.0.1/",
        "//127.0.0.1/",
        "127.0.0.1",
        "",
        "http://",
        "http://user:pass@127.0.0.1/",
        "http://api.openai.com@127.0.0.1/",
        "http://127.0.0.1/#@api.openai.com",
        "http://127.0.0.1:99999/",
        "http://exa mple/",
        "http://[::1/",
        "http://127.0.0.1/\r\nx: y",
    ],
)
async def test_s20_only_plain_http_urls_are_asked(url: str) -> None:
    with pytest.raises(UpstreamError) as raised:
        await HttpTransport().send(ask(url))
    assert (raised.value.reason, raised.value.sent) == ("forbidden", False)


async def test_s21_a_name_that_turns_private_is_refused_at_connect(upstream: FakeUpstream) -> None:
    asked: list[str] = []

    def rebind(host: str) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    transport = HttpTransport(PooledTransport(resolver=Resolver(rebind)))
    url = f"http://rebind.example:{upstream.port}/v1/models"
    with pytest.raises(UpstreamError, match="not a public address"):
        await transport.send(ask(url, allow_private=False))
    assert upstream.open_connections == 0
    # Where private addresses are allowed the same name works, and its connection serves no one else.
    assert await fetch(transport, ask(url))
    with pytest.raises(UpstreamError, match="not a public address"):
        await transport.send(ask(url, allow_private=False))
    assert asked == ["rebind.example"]
    await transport.aclose()


async def test_the_next_address_is_tried_when_one_refuses(upstream: FakeUpstream) -> None:
    transport = HttpTransport(PooledTransport(resolver=Resolver(lambda host: ["127.0.0.99", "127.0.0.1"])))
    assert await fetch(transport, ask(f"http://two.example:{upstream.port}/v1/models"))
    await transport.aclose()


async def test_a_name_without_addresses_is_a_dns_failure() -> None:
    transport = HttpTransport(PooledTransport(resolver=Resolver(lambda host: [])))
    with pytest.raises(UpstreamError) as raised:
        await transport.send(ask("http://empty.example/"))
    assert raised.value.reason == "dns"
    await transport.aclose()


async def test_u2_a_dead_resolver_neither_blocks_nor_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers.egress, "DNS_SECONDS", 0.1)
    release = threading.Event()

    def dead(host: str) -> list[str]:
        release.wait()
        raise OSError("no resolver")

    resolver = Resolver(dead)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.ensure_future(tick())
    results = await asyncio.gather(
        *(resolver.addresses("dead.example") for _ in range(50)), return_exceptions=True
    )
    ticking.cancel()
    release.set()
    assert {getattr(result, "reason", None) for result in results} == {"dns"}
    assert ticks > 5
    resolver.close()


async def test_one_question_at_a_time_serves_everyone_who_asks() -> None:
    asked: list[str] = []
    release = threading.Event()

    def lookup(host: str) -> list[str]:
        asked.append(host)
        release.wait()
        return ["1.1.1.1"]

    resolver = Resolver(lookup)
    waiting = [asyncio.ensure_future(resolver.addresses("one.example")) for _ in range(10)]
    await asyncio.sleep(0.01)
    waiting[0].cancel()  # one who leaves does not take the answer from the others
    release.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert answers[1:] == [["1.1.1.1"]] * 9
    assert await resolver.addresses("one.example") == ["1.1.1.1"]
    assert asked == ["one.example"]
    resolver.forget("one.example")
    await resolver.addresses("one.example")
    assert len(asked) == 2
    resolver.close()


def test_the_system_knows_localhost() -> None:
    found = system_lookup("localhost")
    assert "127.0.0.1" in found
    families = [ipaddress.ip_address(address).version for address in found]
    assert families == sorted(families)
    with pytest.raises(socket.gaierror):
        system_lookup("no-such-host.invalid")
