"""OpenAI's files and batches: each seen only by the account, that is the key, that made it."""

from __future__ import annotations

from typing import Any

from tests.support.upstream.memory import Memory, StoredBatch, StoredFile
from tests.support.upstream.mind import stable_id
from tests.support.upstream.openai_answers import CREATED, headers, json_body
from tests.support.upstream.openai_forms import files, form_of, known_fields, text
from tests.support.upstream.openai_rules import check_key
from tests.support.upstream.openai_shapes import check_type, missing
from tests.support.upstream.refused import RefusedError
from tests.support.upstream.script import Reply, encoded
from tests.support.upstream.wire import Received

_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_ENDPOINTS = ("/v1/responses", "/v1/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/moderations")
_PIECE = 64 * 1024


def answer(request: Received, endpoint: str, memory: Memory) -> Reply:
    """Check the request against the rules and answer it. RefusedError: the provider would refuse it."""
    check_key(request, memory.refused_keys)
    kind, _, rest = endpoint.partition("/")
    if kind == "files":
        return _files(request, rest, memory)
    return _batches(request, rest, memory)


def _files(request: Received, rest: str, memory: Memory) -> Reply:
    if not rest:
        return _new_file(request, memory) if request.method == "POST" else _all(request, memory)
    name, _, tail = rest.partition("/")
    file = memory.files.get(name)
    if file is None or file.account != _account(request):
        raise RefusedError(f"No such File object: {name}", status=404, param="id")
    if tail == "content" and request.method == "GET":
        pieces = [file.content[at : at + _PIECE] for at in range(0, len(file.content), _PIECE)]
        about = [
            ("content-type", "application/octet-stream"),
            ("content-disposition", f'attachment; filename="{file.filename}"'),
        ]
        return Reply(200, [*about, *headers(request)], frames=pieces)
    if tail or request.method not in ("GET", "DELETE"):
        raise RefusedError("Not found", status=404)
    if request.method == "DELETE":
        del memory.files[name]
        return _json(request, {"id": name, "object": "file", "deleted": True})
    return _json(request, shown_file(file))


def _new_file(request: Received, memory: Memory) -> Reply:
    fields = form_of(request)
    known_fields(fields, frozenset({"file", "purpose", "expires_after"}))
    purpose = text(fields, "purpose", required=True)
    if purpose not in _PURPOSES:
        raise RefusedError(f"'{purpose}' is not one of {list(_PURPOSES)}", param="purpose")
    (given,) = files(fields, "file")
    name = stable_id("file-", request.number)
    seconds = text(fields, "expires_after[seconds]")
    file = StoredFile(
        name, _account(request), given.filename, purpose, given.content, int(seconds) if seconds else None
    )
    memory.files[name] = file
    return _json(request, shown_file(file))


def _all(request: Received, memory: Memory) -> Reply:
    mine = [shown_file(file) for file in memory.files.values() if file.account == _account(request)]
    return _json(request, {"object": "list", "data": mine, "has_more": False})


def shown_file(file: StoredFile) -> dict[str, Any]:
    """The file as the provider shows it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": len(file.content),
        "created_at": CREATED,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "expires_at": CREATED + file.seconds if file.seconds else None,
    }


def _batches(request: Received, rest: str, memory: Memory) -> Reply:
    if not rest:
        if request.method == "POST":
            return _new_batch(request, memory)
        mine = [batch.shown for batch in memory.batches.values() if batch.account == _account(request)]
        return _json(request, {"object": "list", "data": mine, "has_more": False})
    name, _, tail = rest.partition("/")
    batch = memory.batches.get(name)
    if batch is None or batch.account != _account(request):
        raise RefusedError(f"No batch found with id '{name}'.", status=404)
    if tail == "cancel" and request.method == "POST":
        batch.shown["status"] = "cancelling"
    elif tail or request.method != "GET":
        raise RefusedError("Not found", status=404)
    return _json(request, batch.shown)


def _new_batch(request: Received, memory: Memory) -> Reply:
    body = json_body(request)
    fields = ("input_file_id", "endpoint", "completion_window")
    known_fields(body, frozenset({*fields, "metadata", "output_expires_after"}))
    for name in fields:
        if name not in body:
            raise missing(name)
        check_type(body[name], "string", name)
    if body["endpoint"] not in _ENDPOINTS or body["completion_window"] != "24h":
        raise RefusedError("Invalid value.", param="endpoint")
    file = memory.files.get(body["input_file_id"])
    if file is None or file.account != _account(request) or file.purpose != "batch":
        raise RefusedError("The input file was not found.", param="input_file_id")
    name = stable_id("batch_", request.number)
    shown = {"id": name, "object": "batch", "status": "validating", "created_at": CREATED}
    shown |= {one: body[one] for one in fields} | {"metadata": body.get("metadata"), "output_file_id": None}
    memory.batches[name] = StoredBatch(name, _account(request), shown)
    return _json(request, shown)


def complete(memory: Memory, name: str, output: bytes) -> str:
    """What the provider does within a day: the batch is done, and its output is a file. Its id."""
    batch = memory.batches[name]
    made = stable_id("file-", name)
    memory.files[made] = StoredFile(made, batch.account, "output.jsonl", "batch_output", output)
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    batch.shown |= {"status": "completed", "output_file_id": made, "usage": usage}
    return made


def _account(request: Received) -> str:
    return request.header("authorization") or ""


def _json(request: Received, document: object) -> Reply:
    return Reply(200, [("content-type", "application/json"), *headers(request)], encoded(document))
