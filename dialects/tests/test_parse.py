"""The strict parser: what it takes, what it refuses and how it says so, and the splice."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.errors import GatewayError
from dialects.parse import MAX_DEPTH, MAX_VALUES, parse_json, splice

SECRET = "tell-nobody"

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from(['":', ':"', '\\":', '\\\\":', "a : b", '{"a": 1}'])
)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['"', '\\"', ":", " "]
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=20,
)
_OBJECTS = st.dictionaries(_TEXT, _TREES, max_size=5)


def _nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def _refusal(raw: bytes) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        parse_json(raw)
    error = caught.value
    assert error.status("openai") == 400
    assert SECRET not in error.message
    assert len(error.message) < 200
    return error


@pytest.mark.parametrize(
    ("raw", "code", "says"),
    [
        (b"", "invalid_json", "empty"),
        (b"   ", "invalid_json", "line 1"),
        (b"[]", "invalid_json", "object"),
        (b"null", "invalid_json", "object"),
        (b'"tell-nobody"', "invalid_json", "object"),
        (b'{"a": tell-nobody}', "invalid_json", "line 1, column 7"),
        (b'{"a":1,\n "b" 2}', "invalid_json", "line 2"),
        (b'{"a":1}{"tell-nobody":1}', "invalid_json", "column 8"),
        (b'{"a":"tell-nobody\xff"}', "invalid_encoding", "byte 17"),
        ('{"a":1}'.encode("utf-16"), "invalid_encoding", "byte 0"),
        (b'{"a":"tell-nobody\\ud83d"}', "invalid_json", "surrogate"),
        (b'{"a":"\\udc00"}', "invalid_json", "surrogate"),
        (b'{"a":"\xed\xa0\xbd"}', "invalid_encoding", "UTF-8"),
        (b'{"a":NaN}', "invalid_json", "not valid"),
        (b'{"a":-Infinity}', "invalid_json", "not valid"),
        (b'{"a":1e999}', "invalid_json", "infinity"),
        (b'{"a":18446744073709551616}', "invalid_json", "64 bits"),
        (b'{"a":-9223372036854775809}', "invalid_json", "64 bits"),
        (b'{"a":[1.5,{"b":' + b"9" * 300 + b"}]}", "invalid_json", "64 bits"),
        (b'{"a":' + b"9" * 5000 + b"}", "invalid_json", "not valid"),
        (b'{"a":1,"a":2}', "invalid_json", "twice"),
        (b'{"a":1,"\\u0061":2}', "invalid_json", "twice"),
        (b'{"a" :1, "a"\n:2}', "invalid_json", "twice"),
        (b'{"x":[{"tell-nobody":1,"tell-nobody":1}]}', "invalid_json", "twice"),
        (b'{"x":"\\u003A","b":1,"b":1}', "invalid_json", "twice"),
        (b'{"x":":\\":","b":":","b":1}', "invalid_json", "twice"),
        (_nested(MAX_DEPTH + 1), "invalid_json", "64 levels"),
        (b'{"a":' + b"[" * 200_000, "invalid_json", "64 levels"),
        (b'{"a":' * 100_000, "invalid_json", "64 levels"),
        (b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", "invalid_json", "64 levels"),
    ],
    ids=range(30),
)
def test_refused(raw: bytes, code: str, says: str) -> None:
    error = _refusal(raw)
    assert error.code == code
    assert says in error.message


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b' {"a" : 18446744073709551615 , "b":-9223372036854775808}\n', {"a": 2**64 - 1, "b": -(2**63)}),
        (b'{"a":1e300,"b":-1e20,"c":1E2}', {"a": 1e300, "b": -1e20, "c": 100.0}),
        (b'{"a":"\\ud83d\\ude00\\u003a"}', {"a": "\U0001f600:"}),
        (b'{"a":{"a":1},"b":{"a":1}}', {"a": {"a": 1}, "b": {"a": 1}}),
        (b'{"":1,"\\"":2}', {"": 1, '"': 2}),
    ],
)
def test_taken(raw: bytes, value: Any) -> None:
    assert parse_json(raw) == value


def test_depth_limit_is_inclusive() -> None:
    assert parse_json(_nested(MAX_DEPTH))


@given(_OBJECTS)
def test_what_any_writer_writes_is_taken(value: dict[str, Any]) -> None:
    for raw in (
        orjson.dumps(value),
        json.dumps(value).encode(),
        json.dumps(value, indent=1, separators=(" ,", " : "), ensure_ascii=False).encode(),
    ):
        assert parse_json(raw) == value


@given(_OBJECTS, st.data())
def test_a_key_given_twice_anywhere_is_refused(value: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(["a", ":", '"', "ключ"]))
    spaced = data.draw(st.sampled_from([":", " :", "\n: "]))
    twice = f"{{{json.dumps(key)}{spaced}1,{json.dumps(key, ensure_ascii=False)}:{json.dumps(value)}}}"
    raw = f'{{"first":{json.dumps(value)},"second":[{twice}]}}'.encode()
    assert "twice" in _refusal(raw).message


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_a_400(raw: bytes) -> None:
    status = None
    try:
        parse_json(raw)
    except GatewayError as error:
        status = error.status("anthropic")
    assert status in (None, 400)


@pytest.mark.parametrize("value", [b"1", b"{}", b'"a,b"', b"[]", b'{"a":1}'])
def test_more_than_a_million_values_are_refused(value: bytes) -> None:
    with pytest.raises(GatewayError) as raised:
        parse_json(b'{"x":[' + b",".join([value] * (MAX_VALUES + 1)) + b"]}")
    assert raised.value.code == "invalid_json"


def test_marks_within_strings_are_no_values() -> None:
    text = 'a,b,[{"\\",' * (MAX_VALUES // 2)
    raw = orjson.dumps({"x": text, "y": [1, 2]})
    assert parse_json(raw)["x"] == text


def test_splice_keeps_bytes_and_order() -> None:
    raw = b'\xef\xbb\xbf{"b": [1.50, 1e5 ,"\\u00e9"], "model":"old", "x":{"y" : null},"gone":1}'
    assert splice(raw, {"model": "new", "stream_options": {"include_usage": True}, "gone": None}) == (
        b'{"b":[1.50, 1e5 ,"\\u00e9"],"model":"new","x":{"y" : null},"stream_options":{"include_usage":true}}'
    )


def test_splice_of_nothing_there() -> None:
    assert splice(b"{}", {"a": None, "model": "m"}) == b'{"model":"m"}'


@given(_OBJECTS)
def test_splice_changes_only_its_field(value: dict[str, Any]) -> None:
    changed = orjson.loads(splice(orjson.dumps(value), {"model": "new"}))
    assert changed == {**value, "model": "new"}
