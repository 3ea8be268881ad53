"""Pictures and files in a chat as clients really write them, for providers that are strict about both."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from dialects.errors import GatewayError
from dialects.parts import Media, data_url, is_text, is_web_url
from dialects.tests.judges import anthropic_accepts, ollama_accepts
from dialects.tests.pair_support import asked

_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
# As MIME and `base64.encodebytes` write it.
_IN_LINES = "\r\n".join(_PNG[at : at + 76] for at in range(0, len(_PNG), 76)) + "\n"

VIA = pytest.mark.parametrize(
    ("upstream", "model"), [("messages", "claude-opus-4-5"), ("ollama_chat", "llama3.2-vision")]
)


def _sent(upstream: str, model: str, part: dict[str, Any]) -> dict[str, Any]:
    _, sent = asked("chat", upstream, {"messages": [{"role": "user", "content": [part]}]}, model)
    (anthropic_accepts if upstream == "messages" else ollama_accepts)(sent)
    turn: dict[str, Any] = sent["messages"][0]
    return turn


@VIA
@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{_PNG}",
        f"data:image/png;base64,{_IN_LINES}",
        f"data:image/png;name=a.png;base64,{_PNG}",
        f"DATA:IMAGE/PNG;BASE64,{_PNG}",
        f"data:image/jpg;base64,{_PNG}",
    ],
    ids=["plain", "in lines", "with a name", "in capitals", "called another"],
)
def test_a_picture_by_value(upstream: str, model: str, url: str) -> None:
    turn = _sent(upstream, model, {"type": "image_url", "image_url": {"url": url}})
    if upstream == "messages":
        source = {"type": "base64", "media_type": "image/png", "data": _PNG}
        assert turn["content"] == [{"type": "image", "source": source}]
    else:
        assert turn["images"] == [_PNG]


@pytest.mark.parametrize("kind", ["text/plain", "text/markdown", "application/json", "application/ld+json"])
@VIA
def test_a_file_of_text(upstream: str, model: str, kind: str) -> None:
    data = base64.b64encode("ž {}".encode()).decode()
    file = {"filename": "a.x", "file_data": f"data:{kind};base64,{data}"}
    turn = _sent(upstream, model, {"type": "file", "file": file})
    if upstream == "messages":
        (block,) = turn["content"]
        assert block["source"] == {"type": "text", "media_type": "text/plain", "data": "ž {}"}
        assert block["title"] == "a.x"
    else:
        assert turn["content"] == "a.x\n\nž {}"


@VIA
def test_a_file_that_is_no_text_is_refused(upstream: str, model: str) -> None:
    file = {"filename": "a.zip", "file_data": "data:application/zip;base64,UEsDBA=="}
    with pytest.raises(GatewayError):
        _sent(upstream, model, {"type": "file", "file": file})


@pytest.mark.parametrize(
    ("url", "media"),
    [
        ("data:text/plain;charset=utf-8;base64,aGk=", Media("text/plain", "aGk=")),
        ("data:image/svg+xml,<svg/>", None),
        ("data:", None),
        ("data:;base64,", Media("", "")),
        ("https://example.com/data:;base64,x", None),
        ("", None),
    ],
)
def test_addresses_of_data(url: str, media: Media | None) -> None:
    assert data_url(url) == media


@pytest.mark.parametrize(
    ("url", "web"),
    [
        ("https://a", True),
        ("HTTP://a", True),
        ("file:///etc/passwd", False),
        ("httpsx://a", False),
        ("", False),
    ],
)
def test_addresses_of_the_web(url: str, web: bool) -> None:
    assert is_web_url(url) is web


@pytest.mark.parametrize(
    ("kind", "text"), [("text/csv", True), ("application/xml", True), ("application/pdf", False), ("", False)]
)
def test_what_is_text(kind: str, text: bool) -> None:
    assert is_text(kind) is text
