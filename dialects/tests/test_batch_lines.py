"""The lines of a batch are told one by one, however the file was cut; the ids in them are found."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.batch_lines import MAX_LINE, BatchLines
from dialects.cacheable import SURFACES
from dialects.errors import NO_MODEL, GatewayError
from dialects.file_ids import file_ids, may_name_files
from dialects.media import MEDIA_DIALECTS

CHAT = "/v1/chat/completions"


def line(model: str, **body: object) -> bytes:
    return orjson.dumps({"method": "POST", "url": CHAT, "body": {"model": model, **body}})


def permit(model: str) -> None:
    if model != "good":
        raise GatewayError(NO_MODEL, "not this one")


FILE = (
    line("good") + b"\r\n\n" + line("good", file_id="file-1") + b"\n" + line("good", a={"file_ids": ["f2"]})
)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_file_cut_anywhere_has_the_same_lines(size: int, end: bytes) -> None:
    lines = BatchLines(CHAT, permit)
    whole = b"\xef\xbb\xbf" + FILE + end
    for at in range(0, len(whole), size):
        lines.feed(whole[at : at + size])
    lines.finish()
    assert (lines.count, lines.files) == (3, {"file-1", "f2"})


def test_the_line_that_is_wrong_is_named_and_not_quoted() -> None:
    lines = BatchLines(CHAT, permit)
    lines.feed(line("good") + b"\n")
    with pytest.raises(GatewayError) as caught:
        lines.feed(line("secret words") + b"\n")
    assert caught.value.message == "Line 2 of the batch's file: not this one"


def test_a_line_without_end() -> None:
    lines = BatchLines(CHAT, permit)
    for _ in range(MAX_LINE // (1 << 20)):
        lines.feed(b"x" * (1 << 20))
    with pytest.raises(GatewayError):
        lines.feed(b"x")


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_but_our_own(data: bytes) -> None:
    lines = BatchLines(CHAT, permit)
    with pytest.raises(GatewayError):
        lines.feed(data + b"\n{}\n")


NAMES = st.sampled_from(["file_id", "file_ids", "x"])
IDS = st.recursive(
    st.none() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
    max_leaves=12,
)


@given(IDS, st.booleans())
def test_where_there_is_no_sign_there_is_no_id(body: object, escaped: bool) -> None:
    raw = orjson.dumps(body)
    if escaped:
        raw = raw.replace(b"file_id", rb"file\u005fid")
    assert may_name_files(raw) or not file_ids(orjson.loads(raw))


def test_nothing_that_passes_through_is_cached() -> None:
    """A form is known by its fields and the sizes of its files: two recordings may look alike."""
    assert not {dialect.name for dialect in MEDIA_DIALECTS} & set(SURFACES)
