"""Requests as protobuf has them, as the JSON of OpenAI's API."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import orjson

from dialects.errors import GatewayError, bad_request
from dialects.parse import parse_json
from grpcapi.generated.llmgateway.v1 import gateway_pb2 as pb

ROLES = {
    pb.ROLE_SYSTEM: "system",
    pb.ROLE_DEVELOPER: "developer",
    pb.ROLE_USER: "user",
    pb.ROLE_ASSISTANT: "assistant",
    pb.ROLE_TOOL: "tool",
}
_PARAMETERS = (
    "max_completion_tokens",
    "temperature",
    "top_p",
    "n",
    "seed",
    "parallel_tool_calls",
    "reasoning_effort",
    "user",
)
Fields = dict[str, Any]


def chat_body(parameters: pb.ChatParameters, *, stream: bool) -> bytes:
    """The body of a chat completion. GatewayError 400 for what has no meaning."""
    body: Fields = {}
    if parameters.model:
        body["model"] = parameters.model
    body["messages"] = [_message(each, f"messages[{n}]") for n, each in enumerate(parameters.messages)]
    body |= _present(parameters, _PARAMETERS)
    if parameters.stop:
        body["stop"] = list(parameters.stop)
    if parameters.tools:
        body["tools"] = [_tool(each, f"tools[{n}]") for n, each in enumerate(parameters.tools)]
    choice = _tool_choice(parameters.tool_choice)
    if choice is not None:
        body["tool_choice"] = choice
    if parameters.response_format_json:
        body["response_format"] = _object(parameters.response_format_json, "response_format_json")
    _add(body, parameters.extra_json, "extra_json", refused=("stream",))
    if stream:
        body["stream"] = True
        # Whoever reads messages can skip one; usage is what most come for.
        body.setdefault("stream_options", {"include_usage": True})
    return _written(body)


def embeddings_body(request: pb.CreateEmbeddingsRequest) -> bytes:
    """The body of a request for embeddings. GatewayError 400 as above."""
    body: Fields = {"model": request.model} if request.model else {}
    if request.input:
        body["input"] = list(request.input)
    body |= _present(request, ("dimensions", "user"))
    _add(body, request.extra_json, "extra_json")
    return _written(body)


def _message(message: pb.Message, where: str) -> Fields:
    fields: Fields = {"role": ROLES[message.role]} if message.role in ROLES else {}
    kind = message.WhichOneof("content")
    if kind == "text":
        fields["content"] = message.text
    elif kind == "parts":
        fields["content"] = [_part(each, f"{where}.parts[{n}]") for n, each in enumerate(message.parts.parts)]
    fields |= _present(message, ("name", "tool_call_id", "refusal"))
    if message.tool_calls:
        fields["tool_calls"] = [_call(call, where) for call in message.tool_calls]
    _add(fields, message.extra_json, f"{where}.extra_json")
    if "role" not in fields:
        raise bad_request("A message says who speaks.", f"{where}.role")
    return fields


def _part(part: pb.ContentPart, where: str) -> Fields:
    kind = part.WhichOneof("part")
    fields: Fields
    if kind == "text":
        fields = {"type": "text", "text": part.text}
    elif kind == "image_url":
        image = {"url": part.image_url.url, **_present(part.image_url, ("detail",))}
        fields = {"type": "image_url", "image_url": image}
    elif kind == "part_json":
        fields = _object(part.part_json, f"{where}.part_json")
    else:
        raise bad_request("A part of a message is empty.", where)
    _add(fields, part.extra_json, f"{where}.extra_json")
    return fields


def _call(call: pb.ToolCall, where: str) -> Fields:
    fields: Fields = {"id": call.id}
    if call.name or not call.extra_json:
        fields |= {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
    _add(fields, call.extra_json, f"{where}.tool_calls.extra_json")
    return fields


def _tool(tool: pb.Tool, where: str) -> Fields:
    fields: Fields = {}
    if tool.name or not tool.extra_json:
        function: Fields = {"name": tool.name, **_present(tool, ("description", "strict"))}
        if tool.parameters_json:
            function["parameters"] = _object(tool.parameters_json, f"{where}.parameters_json")
        fields = {"type": "function", "function": function}
    _add(fields, tool.extra_json, f"{where}.extra_json")
    return fields


def _tool_choice(choice: pb.ToolChoice) -> Any:
    kind = choice.WhichOneof("choice")
    if kind == "function":
        return {"type": "function", "function": {"name": choice.function}}
    if kind == "choice_json":
        return _object(choice.choice_json, "tool_choice.choice_json")
    return choice.mode if kind == "mode" else None


def _present(message: Any, names: Iterable[str]) -> Fields:
    """Those of these optional fields that were set."""
    found = {name: getattr(message, name) for name in names if message.HasField(name)}
    for name, value in found.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise bad_request("The value is no number that JSON can say.", name)
    return found


def _add(fields: Fields, extra: bytes, where: str, refused: Iterable[str] = ()) -> None:
    if not extra:
        return
    more = _object(extra, where)
    twice = sorted((fields.keys() | set(refused)) & more.keys())
    if twice:
        raise bad_request(f"{where} has a field that has a place of its own: {twice[0]}.", where)
    fields |= more


def _object(raw: bytes, where: str) -> Fields:
    try:
        return dict(parse_json(raw))
    except GatewayError as error:
        raise bad_request(f"{where}: {error.message}", where, code=error.code) from None


def _written(body: Fields) -> bytes:
    return orjson.dumps(body)
