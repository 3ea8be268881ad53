"""Addresses of a Redis, and what is said of wrong ones."""

from __future__ import annotations

import pytest

from pipeline.redis_address import RedisAddressError, read_address


@pytest.mark.parametrize(
    "text",
    [
        "redis://host",
        "redis://:secret@host:6379/3",
        "rediss://u:p@host/0?ssl_ca_certs=/ca.pem",
        "unix:///s?db=1",
    ],
)
def test_one_server_is_read_by_the_library(text: str) -> None:
    address = read_address(text)
    assert (address.form, address.url) == ("single", text)


def test_sentinels_a_master_and_a_database() -> None:
    address = read_address(
        "redis+sentinel://user:p%40ss@one:26379,two,[::1]:26380/my-master/2"
        "?sentinel_username=watch&sentinel_password=w%2Fw&health_check_interval=5"
    )
    assert address.form == "sentinel"
    assert address.nodes == (("one", 26379), ("two", 26379), ("::1", 26380))
    assert address.master == "my-master"
    assert address.options == {"username": "user", "password": "p@ss", "db": 2, "health_check_interval": 5}
    assert address.sentinel_options == {"username": "watch", "password": "w/w"}


def test_sentinels_have_no_password_but_their_own_and_the_database_is_the_first() -> None:
    address = read_address("redis+sentinel://:secret@one/main")
    assert address.options == {"password": "secret", "db": 0}
    assert address.sentinel_options == {}


def test_tls_goes_for_servers_and_sentinels() -> None:
    address = read_address("rediss+sentinel://one/main?ssl_ca_certs=/ca.pem&ssl_check_hostname=no")
    tls = {"ssl": True, "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}
    assert address.options == {**tls, "db": 0}
    assert address.sentinel_options == tls


@pytest.mark.parametrize("end", ["", "/", "/0"])
def test_a_cluster(end: str) -> None:
    address = read_address(f"redis+cluster://:secret@one:7000,two{end}")
    assert address.form == "cluster"
    assert address.nodes == (("one", 7000), ("two", 6379))
    assert address.options == {"password": "secret"}
    assert read_address("rediss+cluster://one").options == {"ssl": True}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hunter2", "not an address"),
        ("http://:hunter2@host", "not an address"),
        ("redis://:hunter2@host:port/0", "not an address"),
        ("redis+sentinel://:hunter2@one,two", "names no master"),
        ("redis+sentinel://:hunter2@one/", "names no master"),
        ("redis+sentinel://:hunter2@one/main/first", "number of a database"),
        ("redis+sentinel://:hunter2@/main", "host:port"),
        ("redis+sentinel://one,,two/main", "host:port"),
        ("redis+sentinel://one:0/main", "host:port"),
        ("redis+sentinel://one:65536/main", "host:port"),
        ("redis+sentinel://:hunter2/x@one/main", "host:port"),
        ("redis+cluster://:hunter2@one:6379/3", "one database"),
        ("redis+cluster://:hunter2@one?sentinel_password=hunter2", "no option is called 'sentinel_password'"),
        ("redis+cluster://one?ssl_ca_certs=/hunter2", "rediss+"),
        ("redis+cluster://one?decode_responses=1", "no option is called 'decode_responses'"),
        ("redis+sentinel://one/main?health_check_interval=hunter2", "no such value"),
    ],
)
def test_what_is_wrong_is_said_without_secrets(text: str, words: str) -> None:
    with pytest.raises(RedisAddressError) as told:
        read_address(text)
    assert words in str(told.value)
    assert "hunter2" not in str(told.value)
    assert told.value.__suppress_context__ or told.value.__context__ is None


def test_no_secret_in_the_repr() -> None:
    for text in (
        "redis://:canary@h",
        "redis+sentinel://:canary@h/m?sentinel_password=canary",
        "redis+cluster://:canary@h",
    ):
        assert "canary" not in repr(read_address(text))
