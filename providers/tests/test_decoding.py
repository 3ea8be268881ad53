"""Bodies decoded wherever they are cut: also between two frames or members."""

from __future__ import annotations

import gzip
import sys
import zlib

import brotli
import pytest

from providers.decoding import Decoder, Inflate, Unbrotli, Unzstd
from providers.wire import UpstreamError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DATA = b'data: {"n":0}\n\n' * 40
TWO = (DATA[:100], DATA[100:])


def _inflate() -> Decoder:
    return Inflate("gzip")


def _deflate() -> Decoder:
    return Inflate("deflate")


CASES = [
    pytest.param(_inflate, gzip.compress(DATA), id="gzip"),
    pytest.param(_inflate, b"".join(map(gzip.compress, TWO)), id="two members"),
    pytest.param(_deflate, zlib.compress(DATA), id="deflate"),
    pytest.param(Unbrotli, brotli.compress(DATA), id="br"),
    pytest.param(Unzstd, zstd.compress(DATA), id="zstd"),
    pytest.param(Unzstd, b"".join(map(zstd.compress, TWO)), id="two frames"),
]


@pytest.mark.parametrize(("make", "packed"), CASES)
def test_u27_every_cut(make: type[Decoder], packed: bytes) -> None:
    for cut in range(len(packed) + 1):
        decoder = make()
        pieces = [piece for part in (packed[:cut], packed[cut:]) for piece in decoder.feed(part)]
        decoder.finish()
        assert b"".join(pieces) == DATA


@pytest.mark.parametrize(("make", "packed"), CASES)
def test_u27_byte_by_byte(make: type[Decoder], packed: bytes) -> None:
    decoder = make()
    pieces = [piece for at in range(len(packed)) for piece in decoder.feed(packed[at : at + 1])]
    decoder.finish()
    assert b"".join(pieces) == DATA


@pytest.mark.parametrize(("make", "packed"), [case for case in CASES if "two" not in str(case.id)])
def test_u27_cut_short_is_said(make: type[Decoder], packed: bytes) -> None:
    for cut in range(1, len(packed)):
        decoder = make()
        list(decoder.feed(packed[:cut]))
        with pytest.raises(UpstreamError) as caught:
            decoder.finish()
        assert caught.value.reason == "truncated"
