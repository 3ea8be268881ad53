"""Files by the official SDK: whose they are, where they are, and uploads that are passed on as they come."""

from __future__ import annotations

import http.client
from dataclasses import replace

import openai
import orjson
import pytest
from django.db import DatabaseError

from routing.models import OwnedObject
from tests.e2e.keeping import Kept, jsonl
from tests.support.fake_upstream import Match
from tests.support.surfaces import send
from tests.support.upstream.openai_forms import form_of
from tests.support.upstream.script import Close, Json, Reset, Stall

TEXT = ("notes.txt", b"what we know", "text/plain")


def test_the_life_of_a_file(kept: Kept) -> None:
    made = kept.a.files.create(file=TEXT, purpose="user_data")
    assert (made.filename, made.bytes, made.purpose) == ("notes.txt", 12, "user_data")
    assert kept.fake.last.path == "/one/v1/files"
    assert form_of(kept.fake.last)["purpose"] == ["user_data"]
    record = kept.gateway.wait_record()
    assert (record.surface, record.provider, record.status, record.team) == ("files", "one", 200, "a")
    assert (record.usage, record.cost) == (None, 0)

    assert kept.a.files.retrieve(made.id) == made
    assert [file.id for file in kept.a.files.list()] == [made.id]
    content = kept.a.files.content(made.id)
    assert content.read() == TEXT[1]
    assert content.response.headers["content-disposition"] == 'attachment; filename="notes.txt"'
    assert content.response.headers["x-content-type-options"] == "nosniff"
    assert kept.a.files.delete(made.id).deleted
    assert list(kept.a.files.list()) == []
    with pytest.raises(openai.NotFoundError) as caught:
        kept.a.files.retrieve(made.id)
    assert caught.value.message.endswith(f"No such File object: {made.id}") or made.id in caught.value.message
    assert caught.value.param == "id"


def test_s35_a_team_has_no_part_in_anothers(kept: Kept) -> None:
    made = kept.a.files.create(file=TEXT, purpose="user_data")
    seen = len(kept.fake.requests)
    for ask in (kept.b.files.retrieve, kept.b.files.delete, kept.b.files.content):
        with pytest.raises(openai.NotFoundError) as caught:
            ask(made.id)
        assert "No such File object" in caught.value.message
    assert list(kept.b.files.list()) == []
    assert list(kept.b.files.list(after=made.id)) == []
    with pytest.raises(openai.NotFoundError):
        kept.b.batches.create(input_file_id=made.id, endpoint="/v1/chat/completions", completion_window="24h")
    # Nobody was asked.
    assert len(kept.fake.requests) == seen
    assert kept.a.files.retrieve(made.id).id == made.id


@pytest.mark.parametrize(
    "path",
    ["file-nowhere", "..%2fmodels", "a%2f..%2f..", "a/b", "a//content", "%00", "x" * 200, "a?b", "a%23b"],
)
def test_ids_that_are_none(kept: Kept, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", kept.gateway.port, timeout=10)
    connection.request("GET", f"/v1/files/{path}", headers={"authorization": f"Bearer {kept.a.api_key}"})
    response = connection.getresponse()
    assert response.status == 404
    assert orjson.loads(response.read())["error"]["type"] == "invalid_request_error"
    connection.close()
    assert kept.fake.requests == []


def test_an_id_that_the_provider_gives_twice_stays_with_the_first(kept: Kept) -> None:
    made = kept.a.files.create(file=TEXT, purpose="user_data")
    shown = {
        "id": made.id,
        "object": "file",
        "bytes": 1,
        "created_at": 1,
        "filename": "x",
        "purpose": "batch",
    }
    kept.fake.script(Match(path="/files", where=lambda request: request.method == "POST"), [Json(200, shown)])
    with pytest.raises(openai.InternalServerError) as caught:
        kept.b.files.create(file=TEXT, purpose="user_data")
    assert caught.value.code == "upstream_invalid_response"
    assert [file.id for file in kept.a.files.list()] == [made.id]
    assert list(kept.b.files.list()) == []


def test_the_client_may_say_where_it_goes(kept: Kept) -> None:
    made = kept.a.files.create(file=TEXT, purpose="user_data", extra_headers={"x-gateway-provider": "two"})
    assert kept.fake.last.path == "/two/v1/files"
    assert kept.a.files.content(made.id).read() == TEXT[1]
    assert kept.fake.last.path == f"/two/v1/files/{made.id}/content"


def test_only_among_the_providers_of_its_routes(kept: Kept) -> None:
    one, two = kept.providers["one"], kept.providers["two"]
    kept.use(
        [kept.gateway.route("gpt-*", one), kept.gateway.route("other-*", two)], allowed_models=("gpt-4o",)
    )
    for name in ("two", "nobody"):
        with pytest.raises(openai.BadRequestError) as caught:
            kept.a.files.create(file=TEXT, purpose="user_data", extra_headers={"x-gateway-provider": name})
        assert caught.value.code == "provider_not_found"
    kept.use(allowed_models=("other-1*",))
    kept.a.files.create(file=TEXT, purpose="user_data")
    assert kept.fake.last.path == "/two/v1/files"


def test_a_provider_without_files(kept: Kept) -> None:
    kept.use([kept.gateway.route("claude-*", kept.gateway.provider("anthropic"))])
    with pytest.raises(openai.BadRequestError) as caught:
        kept.a.files.create(file=TEXT, purpose="user_data")
    assert caught.value.code == "provider_not_found"


def test_each_file_is_asked_for_by_the_account_that_made_it(kept: Kept) -> None:
    made = [kept.a.files.create(file=TEXT, purpose="user_data") for _ in range(4)]
    keys = [request.header("authorization") for request in kept.fake.requests]
    assert len(set(keys)) == 2, "credentials take turns"
    for file, key in zip(made, keys, strict=True):
        assert kept.a.files.retrieve(file.id).id == file.id
        assert kept.fake.last.header("authorization") == key


def test_a_list_in_pages(kept: Kept) -> None:
    made = [kept.a.files.create(file=TEXT, purpose="user_data").id for _ in range(5)]
    made.append(kept.a.files.create(file=("b.jsonl", jsonl("gpt-4o")), purpose="batch").id)
    first = kept.a.files.list(limit=2, order="asc")
    assert ([file.id for file in first.data], first.has_more) == (made[:2], True)
    assert [file.id for file in kept.a.files.list(limit=2, order="asc")] == made
    assert [file.id for file in kept.a.files.list()] == made[::-1]
    assert [file.id for file in kept.a.files.list(purpose="batch")] == made[-1:]
    with pytest.raises(openai.BadRequestError):
        kept.a.files.list(limit=0)


def test_what_has_expired_is_not_listed(kept: Kept) -> None:
    made = kept.a.files.create(
        file=TEXT, purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    # The fake's moment is one of the past.
    assert made.expires_at is not None
    assert list(kept.a.files.list()) == []


def test_a_secret_that_was_taken_away(kept: Kept) -> None:
    made = kept.a.files.create(file=TEXT, purpose="user_data")
    OwnedObject.objects.update(credential=None)
    kept.fake.memory.files[made.id].account = "Bearer sk-one-second-0123456789"
    one = kept.providers["one"]
    kept.providers["one"] = replace(one, credentials=one.credentials[1:])
    kept.use()
    assert kept.a.files.retrieve(made.id).id == made.id
    kept.providers["one"] = replace(one, enabled=False)
    kept.use()
    with pytest.raises(openai.InternalServerError) as caught:
        kept.a.files.retrieve(made.id)
    assert caught.value.code == "no_healthy_target"


def test_what_cannot_be_written_down_is_taken_back(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(OwnedObject.objects, "get_or_create", fails)
    with pytest.raises(openai.InternalServerError) as caught:
        kept.a.files.create(file=TEXT, purpose="user_data")
    assert caught.value.code == "dependency_unavailable"
    assert [request.method for request in kept.fake.requests] == ["POST", "DELETE"]
    assert kept.fake.memory.files == {}


# --- Uploads


def upload_head(
    kept: Kept, length: int | None, kind: str = "multipart/form-data; boundary=b"
) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", kept.gateway.port, timeout=20)
    connection.putrequest("POST", "/v1/files")
    connection.putheader("authorization", f"Bearer {kept.a.api_key}")
    connection.putheader("content-type", kind)
    if length is None:
        connection.putheader("transfer-encoding", "chunked")
    else:
        connection.putheader("content-length", str(length))
    connection.endheaders()
    return connection


BEGIN = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
)
END = b"\r\n--b--\r\n"


def test_a_large_one_is_passed_on_as_it_comes(kept: Kept) -> None:
    content = bytes(range(256)) * 4096 * 8
    made = kept.a.files.create(file=("a.bin", content), purpose="user_data")
    assert made.bytes == len(content)
    assert kept.fake.memory.files[made.id].content == content
    assert kept.fake.last.header("transfer-encoding") is None


def test_one_of_unknown_length(kept: Kept) -> None:
    connection = upload_head(kept, None)
    for piece in (BEGIN, b"x" * 300_000, b"y", END):
        connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    connection.send(b"0\r\n\r\n")
    response = connection.getresponse()
    assert response.status == 200
    assert orjson.loads(response.read())["bytes"] == 300_001
    connection.close()
    assert kept.fake.last.body == BEGIN + b"x" * 300_000 + b"y" + END
    assert kept.fake.last.header("transfer-encoding") == "chunked"


def test_one_that_is_cut_never_reaches_the_provider_whole(kept: Kept) -> None:
    connection = upload_head(kept, 10_000_000)
    connection.send(BEGIN + b"x" * 100_000)
    kept.gateway.wait(lambda: kept.fake.open_connections > 0)
    connection.close()
    assert kept.gateway.wait_record().outcome == "client_gone"
    kept.gateway.idle()
    assert kept.fake.requests == []
    assert not OwnedObject.objects.exists()


def test_one_that_is_too_large(kept: Kept) -> None:
    connection = upload_head(kept, 600 * 1024 * 1024)
    response = connection.getresponse()
    assert response.status == 413
    assert orjson.loads(response.read())["error"]["code"] == "request_too_large"
    connection.close()


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary="]
)
def test_what_is_no_form_is_refused_unread(kept: Kept, kind: str) -> None:
    connection = upload_head(kept, 1000, kind)
    response = connection.getresponse()
    assert response.status in (400, 415)
    connection.close()
    assert kept.fake.open_connections == 0 or kept.fake.requests == []


def test_a_form_that_its_provider_refuses(kept: Kept) -> None:
    connection = upload_head(kept, 3)
    connection.send(b"bad")
    response = connection.getresponse()
    assert response.status == 400
    assert "multipart" in orjson.loads(response.read())["error"]["message"]
    connection.close()


@pytest.mark.parametrize("end", [Close(), Reset()], ids=["close", "reset"])
def test_one_that_was_sent_is_not_sent_again(kept: Kept, end: Close | Reset) -> None:
    kept.fake.script("/files", [end])
    with pytest.raises(openai.InternalServerError) as caught:
        kept.a.files.create(file=TEXT, purpose="user_data")
    assert caught.value.code == "upstream_truncated"
    assert len(kept.fake.requests) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_not_even_where_it_was_refused(kept: Kept, status: int) -> None:
    kept.fake.script("/files", [Json(status, {"error": {"message": "busy"}})])
    with pytest.raises(openai.APIStatusError) as caught:
        kept.a.files.create(file=TEXT, purpose="user_data")
    assert caught.value.status_code == status
    assert len(kept.fake.requests) == 1


def test_who_leaves_while_the_provider_thinks(kept: Kept) -> None:
    kept.fake.script("/files", [Stall()])
    connection = upload_head(kept, len(BEGIN + END))
    connection.send(BEGIN + END)
    request = kept.fake.wait_for(1)[0]
    connection.close()
    assert kept.fake.wait_closed(request)
    assert kept.gateway.wait_record().outcome == "client_gone"


# --- Named in other requests


def naming(name: str, key: str = "file_id") -> bytes:
    part = b'{"type":"file","file":{"%b":"%b"}}' % (key.encode(), name.encode())
    return b'{"model":"gpt-4o","messages":[{"role":"user","content":[%b]}]}' % part


@pytest.mark.parametrize("key", ["file_id", r"file\u005fid", r"\u0066ile_id"])
def test_s35_another_teams_file_is_not_read_by_its_id(kept: Kept, key: str) -> None:
    made = kept.a.files.create(file=TEXT, purpose="user_data")
    answer = {"choices": [{"message": {"content": "x"}}]}
    kept.fake.script("/chat/completions", [Json(200, answer)], check=False)
    headers = {name: {"authorization": f"Bearer {crew.client.api_key}"} for name, crew in kept.crews.items()}
    for crew, expected in (("a", 200), ("b", 404)):
        body = naming(made.id, key)
        status, _, raw = send(kept.gateway, "POST", "/v1/chat/completions", body, headers[crew])
        assert status == expected, raw
    assert [request.body for request in kept.fake.requests[1:]] == [naming(made.id, key)]
    # One that nobody here has made is the provider's to judge.
    status, _, _ = send(kept.gateway, "POST", "/v1/chat/completions", naming("file-else"), headers["b"])
    assert status == 200


def test_an_id_with_a_nul_is_none(kept: Kept) -> None:
    headers = {"authorization": f"Bearer {kept.a.api_key}"}
    body = naming(r"a\u0000b")
    status, _, raw = send(kept.gateway, "POST", "/v1/chat/completions", body, headers)
    assert (status, orjson.loads(raw)["error"]["message"]) == (404, "No such File object: this id")
    for query in ("files?purpose=%00", "files?after=%00", "batches?after=%00"):
        status, _, raw = send(kept.gateway, "GET", f"/v1/{query}", b"", headers)
        assert (status, orjson.loads(raw)["data"]) == (200, [])
    assert kept.fake.requests == []


def test_s35_nor_from_within_a_batch(kept: Kept) -> None:
    made = kept.a.files.create(file=TEXT, purpose="user_data")
    line = jsonl("gpt-4o").replace(b"[]", b'[{"file_ids":["%b"]}]' % made.id.encode())
    for client, fits in ((kept.a, True), (kept.b, False)):
        source = client.files.create(file=("b.jsonl", line), purpose="batch").id
        try:
            client.batches.create(
                input_file_id=source, endpoint="/v1/chat/completions", completion_window="24h"
            )
        except openai.NotFoundError as error:
            assert made.id in error.message  # noqa: PT017 - of the two, one is refused
            assert not fits
        else:
            assert fits
