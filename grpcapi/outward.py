"""Answers as the JSON of OpenAI's API has them, as protobuf. What has no field goes into `extra_json`."""

from __future__ import annotations

from typing import Any

import orjson

from grpcapi.generated.llmgateway.v1 import gateway_pb2 as pb
from grpcapi.inward import ROLES

Fields = dict[str, Any]
_ROLES = {name: role for role, name in ROLES.items()}


def completion(body: bytes) -> pb.CreateChatCompletionResponse:
    """A whole answer. Raises what a reader of such an answer raises when it is none."""
    fields = orjson.loads(body)
    made = pb.CreateChatCompletionResponse(
        choices=[_choice(each) for each in fields.pop("choices", None) or ()],
        usage=_usage(fields.pop("usage", None)),
    )
    _head(made, fields, "chat.completion")
    return made


def chunk(fields: Fields) -> pb.StreamChatCompletionResponse:
    """A chunk of an answer. Raises as `completion` does."""
    made = pb.StreamChatCompletionResponse(
        choices=[_choice_delta(each) for each in fields.pop("choices", None) or ()],
        usage=_usage(fields.pop("usage", None)),
    )
    _head(made, fields, "chat.completion.chunk")
    return made


def embeddings(body: bytes) -> pb.CreateEmbeddingsResponse:
    """Vectors. Raises as `completion` does."""
    fields = orjson.loads(body)
    made = pb.CreateEmbeddingsResponse(
        model=fields.pop("model", None) or "", usage=_usage(fields.pop("usage", None))
    )
    for each in fields.pop("data"):
        vector = each["embedding"]
        kind = {"base64": vector} if isinstance(vector, str) else {"values": vector}
        made.embeddings.append(pb.Embedding(index=each.get("index", 0), **kind))
    made.extra_json = _rest(fields, "list")
    return made


def models(body: bytes) -> pb.ListModelsResponse:
    """A list of models."""
    return pb.ListModelsResponse(models=[_model(each) for each in orjson.loads(body)["data"]])


def model(body: bytes) -> pb.GetModelResponse:
    """One model."""
    return pb.GetModelResponse(model=_model(orjson.loads(body)))


def _head(made: Any, fields: Fields, kind: str) -> None:
    made.id = fields.pop("id", None) or ""
    made.created = int(fields.pop("created", None) or 0)
    made.model = fields.pop("model", None) or ""
    made.extra_json = _rest(fields, kind)


def _rest(fields: Fields, kind: str = "") -> bytes:
    """What is left of an object, without what is null or says only which kind of object it is."""
    if kind and fields.get("object") == kind:
        del fields["object"]
    left = {name: value for name, value in fields.items() if value is not None}
    return orjson.dumps(left) if left else b""


def _usage(usage: Fields | None) -> pb.Usage | None:
    if usage is None:
        return None
    made = pb.Usage(
        prompt_tokens=usage.get("prompt_tokens") or 0,
        completion_tokens=usage.get("completion_tokens") or 0,
        total_tokens=usage.get("total_tokens") or 0,
        usage_json=orjson.dumps(usage),
    )
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if cached is not None:
        made.cached_tokens = cached
    if thought is not None:
        made.reasoning_tokens = thought
    return made


def _choice(choice: Fields) -> pb.Choice:
    made = pb.Choice(index=choice.pop("index", 0), message=_message(choice.pop("message", None) or {}))
    _take(made, choice, "finish_reason")
    made.extra_json = _rest(choice)
    return made


def _message(message: Fields) -> pb.Message:
    made = pb.Message()
    _take_role(made, message)
    content = message.get("content")
    if isinstance(content, str):
        made.text = message.pop("content")
    elif isinstance(content, list):
        made.parts.parts.extend(_part(each) for each in message.pop("content"))
    _take(made, message, "name", "tool_call_id", "refusal")
    made.tool_calls.extend(_call(each) for each in message.pop("tool_calls", None) or ())
    made.extra_json = _rest(message)
    return made


def _part(part: Fields) -> pb.ContentPart:
    if part.get("type") == "text" and isinstance(part.get("text"), str):
        made = pb.ContentPart(text=part["text"])
        made.extra_json = _rest({name: each for name, each in part.items() if name not in ("type", "text")})
        return made
    return pb.ContentPart(part_json=orjson.dumps(part))


def _call(call: Fields) -> pb.ToolCall:
    made = pb.ToolCall(id=call.pop("id", None) or "")
    _take_function(made, call)
    made.extra_json = _rest(call)
    return made


def _choice_delta(choice: Fields) -> pb.ChoiceDelta:
    made = pb.ChoiceDelta(index=choice.pop("index", 0), delta=_delta(choice.pop("delta", None) or {}))
    _take(made, choice, "finish_reason")
    made.extra_json = _rest(choice)
    return made


def _delta(delta: Fields) -> pb.Delta:
    made = pb.Delta()
    _take_role(made, delta)
    _take(made, delta, "content", "refusal")
    for call in delta.pop("tool_calls", None) or ():
        piece = made.tool_calls.add(index=call.pop("index", 0))
        _take(piece, call, "id")
        _take_function(piece, call)
        piece.extra_json = _rest(call)
    made.extra_json = _rest(delta)
    return made


def _model(fields: Fields) -> pb.Model:
    made = pb.Model(
        id=fields.pop("id"),
        created=int(fields.pop("created", None) or 0),
        owned_by=fields.pop("owned_by", None) or "",
    )
    made.extra_json = _rest(fields, "model")
    return made


def _take_role(made: Any, fields: Fields) -> None:
    # A role that has no name here stays among the other fields.
    if fields.get("role") in _ROLES:
        made.role = _ROLES[fields.pop("role")]


def _take_function(made: Any, call: Fields) -> None:
    """Name and arguments of a function. Further fields of it, and other types of calls, stay as they are."""
    function = call.get("function")
    if not isinstance(function, dict):
        return
    _take(made, function, "name", "arguments")
    if call.get("type") == "function":
        del call["type"]
    if not any(each is not None for each in function.values()):
        del call["function"]


def _take(made: Any, fields: Fields, *names: str) -> None:
    for name in names:
        if isinstance(fields.get(name), str):
            setattr(made, name, fields.pop(name))
