"""Which base URLs are taken: no spelling of an address that nobody should reach is let in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.base_urls import BaseUrlError, check_base_url

GOOD = [
    ("https://api.openai.com/v1", "https://api.openai.com/v1"),
    ("https://api.anthropic.com/", "https://api.anthropic.com"),
    ("http://8.8.8.8:8000/v1//", "http://8.8.8.8:8000/v1"),
    ("https://[2606:4700::6810:84e5]/v1", "https://[2606:4700::6810:84e5]/v1"),
    ("https://my_host.example/a/b", "https://my_host.example/a/b"),
    ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ("HTTPS://API.OPENAI.COM/v1", "HTTPS://API.OPENAI.COM/v1"),
]
# Never, whatever the provider may: metadata services, in every spelling that a library takes for an address.
METADATA = [
    "http://169.254.169.254",
    "http://169.254.169.254/latest/meta-data",
    "http://2852039166",
    "http://0xa9fea9fe",
    "http://0251.0376.0251.0376",
    "http://169.254.43518",
    "http://[::ffff:169.254.169.254]",
    "http://[::ffff:a9fe:a9fe]",
    "http://[64:ff9b::a9fe:a9fe]",
    "http://100.100.100.200",
    "http://metadata.google.internal",
    "http://METADATA.google.internal.",
    "http://metadata",
    "http://instance-data.ec2.internal",
    "http://[fd00:ec2::254]",
    "http://[fe80::1%25eth0]",
]
PRIVATE = [
    "http://127.0.0.1:11434",
    "http://127.1",
    "http://0x7f.1",
    "http://017700000001",
    "http://0.0.0.0",
    "http://[::]",
    "http://[::1]:11434",
    "http://[::ffff:10.0.0.1]",
    "http://10.0.0.7:8000/v1",
    "http://192.168.1.1",
    "http://localhost:11434",
    "http://ollama.localhost",
    "http://printer.local",
    "http://vllm.internal:8000/v1",
    "http://vllm.default.svc:8000/v1",
]
# Not the URL of anything that could be a provider.
NONSENSE = [
    "",
    "api.openai.com/v1",
    "file:///etc/passwd",
    "gopher://api.openai.com/",
    "ftp://api.openai.com/",
    "javascript:alert(1)",
    "https://",
    "https:///v1",
    "https://user:pass@api.openai.com/v1",
    "https://api.openai.com@169.254.169.254/",
    "https://api.openai.com/v1?x=1",
    "https://api.openai.com/v1#@169.254.169.254/",
    "https://api.openai.com\\@169.254.169.254/",
    "https://api.openai.com/v1/../admin",
    "https://api.openai.com/%2e%2e/admin",
    "https://api.openai.com/.%2E/",
    "https://api.openai.com:0/v1",
    "https://api.openai.com:99999/v1",
    "https://api.openai.com:x/v1",
    "https://api openai.com",
    "https://api.openai.com/\r\nHost: x",
    "https://api.openai.com/v1\0",
    "https://-bad-.example",
    "https://a..b",
    "http://999.999.999.999",
    "http://1.2.3.4.5",
    "https://[::1",
    "https://" + "a" * 300 + ".example",
]


@pytest.mark.parametrize(("url", "clean"), GOOD)
def test_a_good_url_loses_its_trailing_slashes_alone(url: str, clean: str) -> None:
    assert check_base_url(url, allow_private=False) == clean


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("url", METADATA)
def test_s20_metadata_services_are_always_refused(url: str, allow_private: bool) -> None:
    with pytest.raises(BaseUrlError):
        check_base_url(url, allow_private=allow_private)


@pytest.mark.parametrize("url", PRIVATE)
def test_s20_private_addresses_are_refused_unless_allowed(url: str) -> None:
    with pytest.raises(BaseUrlError, match="allow private"):
        check_base_url(url, allow_private=False)
    assert check_base_url(url, allow_private=True) == url


@pytest.mark.parametrize("allow_private", [False, True])
@pytest.mark.parametrize("url", NONSENSE)
def test_s20_what_is_no_providers_url_is_refused(url: str, allow_private: bool) -> None:
    with pytest.raises(BaseUrlError):
        check_base_url(url, allow_private=allow_private)


@pytest.mark.parametrize(
    ("addresses", "fine"),
    [
        (["93.184.216.34"], True),
        (["93.184.216.34", "10.0.0.1"], False),
        (["::1"], False),
        (["169.254.169.254"], False),
        ([], True),
    ],
)
def test_s20_a_public_name_of_a_private_address_is_refused(addresses: list[str], fine: bool) -> None:
    def resolve(host: str) -> list[str]:
        assert host == "localtest.example"
        return addresses

    if fine:
        check_base_url("https://localtest.example/v1", allow_private=False, resolve=resolve)
        return
    with pytest.raises(BaseUrlError):
        check_base_url("https://localtest.example/v1", allow_private=False, resolve=resolve)


def test_a_name_of_a_metadata_service_is_refused_although_private_is_allowed() -> None:
    with pytest.raises(BaseUrlError):
        check_base_url("http://vllm", allow_private=True, resolve=lambda _: ["169.254.169.254"])


@pytest.mark.parametrize("error", [OSError("no such name"), UnicodeError("too long")])
def test_a_name_that_does_not_resolve_now_may_later(error: Exception) -> None:
    def resolve(_: str) -> list[str]:
        raise error

    assert check_base_url("https://soon.example", allow_private=False, resolve=resolve)


@given(st.text(max_size=60), st.booleans())
def test_no_text_raises_anything_else(text: str, private: bool) -> None:
    for url in (text, "http://" + text, "https://[" + text):
        try:
            assert not check_base_url(url, allow_private=private).endswith("/")
        except BaseUrlError as error:
            assert str(error)  # noqa: PT017 - both outcomes are looked at
