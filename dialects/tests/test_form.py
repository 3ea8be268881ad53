"""Forms: what is read of them, what is changed in them, and all that is refused for having two readings."""

from __future__ import annotations

import email
from email import policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects.errors import GatewayError
from dialects.form import MAX_PART_HEAD, MAX_PARTS, boundary_of, parse_form

TYPE = "multipart/form-data; boundary=bound"


def field(name: str, value: bytes, more: str = "", headers: str = "") -> bytes:
    head = f'--bound\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{headers}\r\n'
    return head.encode() + value + b"\r\n"


MODEL = field("model", b"gpt-4o")
FILE = field("file", b"\x00\xff\r\n--boun", '; filename="a.mp3"', "Content-Type: audio/mpeg\r\n")
END = b"--bound--\r\n"


def refused(raw: bytes, content_type: str = TYPE) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        parse_form(raw, content_type)
    assert caught.value.status("openai") in (400, 415)
    return caught.value


def test_text_and_files() -> None:
    form = parse_form(MODEL + FILE + field("tag", b"a") + field("tag", b"b") + END, TYPE)
    assert form.body == {"model": "gpt-4o", "file": {"bytes": 10}, "tag": ["a", "b"]}


@pytest.mark.parametrize("end", [END, b"--bound--"])
def test_the_last_line_may_lack_its_end(end: bytes) -> None:
    assert parse_form(MODEL + end, TYPE).body == {"model": "gpt-4o"}


def test_a_field_is_replaced_and_all_else_stays() -> None:
    form = parse_form(FILE + MODEL + field("n", b"1") + END, TYPE)
    assert form.splice({"model": "žába"}) == FILE + field("model", "žába".encode()) + field("n", b"1") + END
    assert form.splice({"n": None}) == FILE + MODEL + END
    assert form.splice({"n": 2, "on": True}) == field("on", b"true") + FILE + MODEL + field("n", b"2") + END
    assert form.splice({"file": None, "model": None, "n": None}) == END


def test_a_field_that_comes_twice_is_set_once() -> None:
    form = parse_form(field("tag", b"a") + MODEL + field("tag", b"b") + END, TYPE)
    assert form.splice({"tag": "c"}) == field("tag", b"c") + MODEL + END


def test_two_models_are_no_model() -> None:
    assert parse_form(MODEL + field("model", b"gpt-5") + END, TYPE).body == {"model": ["gpt-4o", "gpt-5"]}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"--bound",
        b"preamble\r\n" + MODEL + END,
        MODEL,
        MODEL[:-2] + END,
        MODEL + END + b"epilogue",
        MODEL + END + MODEL + END,
        MODEL.replace(b"\r\n", b"\n") + END,
        field("file", b"a\n--bound\nb") + MODEL + END,
        field("file", b"a--boundb") + MODEL + END,
        b"--bound\r\n\r\nno head\r\n" + END,
        b"--bound\r\nContent-Type: text/plain\r\n\r\nno name\r\n" + END,
        b'--bound\r\nContent-Disposition: form-data; name="model"' + END,
        b'--bound\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + END,
        field("model", b"a", '; name="other"') + END,
        field("model", b"a", "; name*=utf-8''other") + END,
        field("model", b"a", "; x=y") + END,
        field("model", b"a", "", 'Content-Disposition: form-data; name="other"\r\n') + END,
        field("model", b"a", "", "Content-Length: 2\r\n") + END,
        field("model", b"Z3B0", "", "Content-Transfer-Encoding: base64\r\n") + END,
        field("model", b"a", "", " folded: 1\r\n") + END,
        field("model", b"a", "", "X: a\rb\r\n") + END,
        field("model", b"a", "", "".join(f"X-{n}: a\r\n" for n in range(9))) + END,
        field("model", b"a", "", f"X: {'a' * MAX_PART_HEAD}\r\n") + END,
        field('mo\\"del', b"a") + END,
        field("", b"a") + END,
        field("model", b"\xff") + END,
        field("model", b"a", "", "Content-Type: text/plain; charset=utf-16\r\n") + END,
        field("_charset_", b"utf-16") + MODEL + END,
        field("a", b"b") * (MAX_PARTS + 1) + END,
        b'--bound\r\nContent-Disposition: attachment; name="model"\r\n\r\na\r\n' + END,
    ],
)
def test_whatever_has_two_readings_is_refused(raw: bytes) -> None:
    refused(raw)


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=bound",
        "multipart/form-data; boundary=bound; x=y",
        'multipart/form-data; boundary="bo;und"',
        "multipart/form-data; boundary=bo und",
        "multipart/form-data; boundary=" + "b" * 71,
        "multipart/form-data; boundary*=utf-8''bound",
        "multipart/mixed; boundary=bound",
        "application/json",
        "",
    ],
)
def test_content_types_that_are_refused(kind: str) -> None:
    refused(MODEL + END, kind)


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ("multipart/form-data; boundary=bound", b"bound"),
        ('Multipart/Form-Data;charset=UTF-8;Boundary="a b=c"', b"a b=c"),
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            b"----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
    ],
)
def test_content_types_of_clients(kind: str, boundary: bytes) -> None:
    assert boundary_of(kind) == boundary


NAMES = st.text("abcdefgh[]_", min_size=1, max_size=9)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=60), st.booleans()), max_size=8))
def test_pythons_own_reader_finds_the_same(fields: list[tuple[str, bytes, bool]]) -> None:
    text = [(n, v if f else v.hex().encode(), f) for n, v, f in fields if b"bound" not in v]
    raw = b"".join(field(n, v, '; filename="f"' if f else "") for n, v, f in text) + END
    form = parse_form(raw, TYPE)
    message = email.message_from_bytes(
        b"Content-Type: " + TYPE.encode() + b"\r\n\r\n" + raw, policy=policy.HTTP
    )
    found = [part["content-disposition"].params["name"] for part in message.iter_parts()]
    assert [part.name for part in form.parts] == found == [n for n, _, _ in text]
    assert [raw[part.value : part.end] for part in form.parts] == [v for _, v, _ in text]


@given(st.binary(max_size=400))
def test_garbage_raises_nothing_but_our_own(data: bytes) -> None:
    for raw in (data, b"--bound\r\n" + data + END, MODEL + b"--bound" + data):
        try:
            parse_form(raw, TYPE)
        except GatewayError as error:
            assert error.status("openai") == 400  # noqa: PT017 - most of it is refused, and none of it raises anything else
