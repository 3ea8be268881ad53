"""Leaves of the pairs that end at Ollama: its options, pictures, tools, thinking levels and call ids."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson

from dialects.errors import GatewayError, bad_request
from dialects.parts import Losses, tool_input
from dialects.schema import as_object
from dialects.types import JsonObject

# What a client may set in Ollama's own `options`: how to sample, and how much context. The rest decides how
# a model is loaded (GPU layers, threads, memory), which is the operator's.
SAMPLING_OPTIONS = frozenset(
    {
        "num_ctx",
        "num_keep",
        "num_predict",
        "seed",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "tfs_z",
        "repeat_last_n",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
        "mirostat",
        "mirostat_tau",
        "mirostat_eta",
        "penalize_newline",
        "stop",
    }
)
# Fields of Ollama's own request that pass from a client of another dialect.
EXTENSIONS = ("keep_alive", "truncate", "shift")

# What Ollama reads integers into.
_MAX_INT = (1 << 63) - 1

# A model of this family takes a level of thinking; the others only on or off.
_LEVELLED = "gpt-oss"
_LEVELS: Mapping[str, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}

# --- Options -----------------------------------------------------------------------------------------


class Options(dict[str, Any]):
    """Ollama's `options` in the making. Ollama answers 500 to a wrong type, so types are checked here."""

    def floats(self, body: JsonObject, names: Mapping[str, str]) -> None:
        """Take numbers over: client's name to Ollama's."""
        for name, option in names.items():
            value = body.get(name)
            if value is None:
                continue
            if type(value) not in (int, float):
                raise bad_request(f"'{name}' must be a number.", name, "invalid_type")
            self[option] = value

    def ints(self, body: JsonObject, names: Mapping[str, str]) -> None:
        """Take whole numbers over; 7.0 counts as one."""
        for name, option in names.items():
            value = body.get(name)
            if value is None:
                continue
            if type(value) is float and value.is_integer():
                value = int(value)
            if type(value) is not int or abs(value) > _MAX_INT:
                raise bad_request(f"'{name}' must be an integer of 64 bits.", name, "invalid_type")
            self[option] = value

    def stop(self, body: JsonObject, name: str) -> None:
        """Take stop sequences over: a string or a list, always a list at Ollama."""
        value = body.get(name)
        if value is None:
            return
        stops = [value] if type(value) is str else value
        if type(stops) is not list or not all(type(stop) is str for stop in stops):
            raise bad_request(f"'{name}' must be a string or an array of strings.", name, "invalid_type")
        stops = [stop for stop in stops if stop]
        if stops:
            self["stop"] = stops

    def extend(self, body: JsonObject, losses: Losses) -> None:
        """Ollama's own `options` and `num_ctx` where a client sends them beside its dialect's fields, which
        win when both are there."""
        given = body.get("options")
        if given is not None and type(given) is not dict:
            raise bad_request("'options' must be an object.", "options", "invalid_type")
        for name, value in (given or {}).items():
            if name in SAMPLING_OPTIONS:
                self.setdefault(name, value)
            else:
                losses.note(f"options.{name}")
        if body.get("num_ctx") is not None:
            self.ints(body, {"num_ctx": "num_ctx"})


def extensions(body: JsonObject) -> JsonObject:
    """Ollama's own top-level fields that a client of another dialect may send."""
    return {name: body[name] for name in EXTENSIONS if body.get(name) is not None}


# --- Media -------------------------------------------------------------------------------------------


def picture(data: Any, where: str) -> str:
    """Bare base64 as Ollama takes it; 400 for anything that is not valid base64."""
    if type(data) is not str or not data:
        raise bad_request(f"'{where}' has no image data.", where, "invalid_value")
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"'{where}' is not valid base64.", where, "invalid_base64") from None
    return data


def refuse_address(where: str, what: str) -> GatewayError:
    """The 400 for media by address: Ollama takes only the data itself, and the gateway fetches nothing."""
    return bad_request(
        f"This model's provider takes {what} only as base64 data, not by address ('{where}').",
        where,
        "unsupported_media",
    )


def text_of_data(data: str, where: str) -> str:
    """A text document that came as base64."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise bad_request(f"'{where}' is not UTF-8 text in base64.", where, "invalid_base64") from None


# --- Tools -------------------------------------------------------------------------------------------


def tool(name: str, description: Any, schema: Any, losses: Losses) -> JsonObject:
    """A function tool whose schema survives Ollama's reader."""
    function: JsonObject = {"name": name}
    if type(description) is str:
        function["description"] = description
    function["parameters"] = inlined(as_object(schema), losses)
    return {"type": "function", "function": function}


def call(name: str, arguments: Any, call_id: Any = None) -> JsonObject:
    """A tool call of the history: the arguments as an object, whatever form they had."""
    made: JsonObject = {"function": {"name": name, "arguments": tool_input(arguments)}}
    return {"id": call_id, **made} if type(call_id) is str and call_id else made


def chosen(tools: list[JsonObject], name: str, where: str) -> list[JsonObject]:
    """Only the tool of this name; 400 when there is none."""
    found = [tool for tool in tools if tool["function"]["name"] == name]
    if not found:
        raise bad_request(f"'{where}' names a tool that is not in 'tools'.", where, "invalid_value")
    return found


def must_call(messages: list[JsonObject], name: str | None) -> None:
    """Ollama cannot force a call, so the instructions ask for it."""
    words = f'the tool "{name}"' if name else "at least one of the tools"
    hint = f"You must call {words} in this turn. Do not answer with text."
    first = messages[0] if messages else None
    if first and first["role"] == "system":
        first["content"] = f"{first['content']}\n\n{hint}" if first["content"] else hint
    else:
        messages.insert(0, {"role": "system", "content": hint})


def note_marks(given: Any, losses: Losses) -> None:
    """Note the marks for a prompt cache on a part, message or tool: Ollama caches by itself and is told
    nothing."""
    if type(given) is dict:
        for name in ("cache_control", "prompt_cache_breakpoint"):
            if given.get(name) is not None:
                losses.note(name)


# --- Thinking ----------------------------------------------------------------------------------------


def think(effort: str, model: str) -> bool | str:
    """Ollama's `think` for an effort: a level for the family that has levels, else on or off."""
    if effort == "none":
        return False
    return _LEVELS[effort] if _LEVELLED in model.lower() else True


# --- Answers -----------------------------------------------------------------------------------------


def finish_reason(line: JsonObject, *, called: bool) -> str:
    """OpenAI's finish reason for a last line. Ollama says "stop" after tool calls too; "load" and "unload"
    answer a request without messages."""
    if line.get("done_reason") == "length":
        return "length"
    return "tool_calls" if called else "stop"


# --- Schemas -----------------------------------------------------------------------------------------

# Ollama's reader and the model's template copy what is inlined: enough for any honest schema, and a bound on
# what a schema of references to references can grow to.
MAX_SCHEMA_NODES = 20_000
# No deeper than a body may be.
MAX_SCHEMA_DEPTH = 64

_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")


def inlined(schema: JsonObject, losses: Losses) -> JsonObject:
    """A copy in the words that Ollama keeps of a tool's schema (type, properties, required, items, enum,
    anyOf, description): references resolved, `oneOf` as `anyOf`, `allOf` merged, `const` as `enum`.

    A schema that contains itself is cut off where it does. 400 when the copy would be enormous.
    """
    copy: JsonObject = _Inliner(schema, losses).schema(schema, (), 0)
    if not _refers(copy):
        copy.pop("$defs", None)
        copy.pop("definitions", None)
    return copy


def _refers(schema: JsonObject) -> bool:
    """True when a reference is left that could not be resolved."""
    return b'"$ref"' in orjson.dumps({k: v for k, v in schema.items() if k not in ("$defs", "definitions")})


class _Inliner:
    def __init__(self, root: JsonObject, losses: Losses) -> None:
        self._root = root
        self._losses = losses
        self._left = MAX_SCHEMA_NODES

    def schema(self, node: Any, path: tuple[str, ...], depth: int) -> Any:
        """A copy of one schema; `path` holds the references that led here."""
        if type(node) is not dict:
            return node
        self._left -= 1
        if self._left < 0 or depth > MAX_SCHEMA_DEPTH:
            raise bad_request(
                "A tool's schema is too large when its references are resolved.",
                "tools",
                "invalid_function_parameters",
            )
        copy: JsonObject = {}
        for name, value in node.items():
            # The definitions themselves are not needed once they stand where they were named.
            if not (depth == 0 and name in ("$defs", "definitions")):
                self._field(copy, name, value, path, depth + 1)
            else:
                copy[name] = value
        reference = copy.get("$ref")
        return self._resolved(copy, reference, path, depth) if type(reference) is str else copy

    def _field(self, copy: JsonObject, name: str, value: Any, path: tuple[str, ...], depth: int) -> None:
        if name in _MAPS and type(value) is dict:
            copy[name] = {key: self.schema(inner, path, depth) for key, inner in value.items()} | copy.get(
                name, {}
            )
        elif name in _LISTS and type(value) is list:
            options = [self.schema(inner, path, depth) for inner in value]
            if name == "allOf":
                _merge(copy, options)
            else:
                name = "anyOf" if name == "oneOf" else name
                copy[name] = copy.get(name, []) + options
        elif name == "const":
            copy.setdefault("enum", [value])
        elif name == "required" and type(value) is list:
            copy[name] = value + [r for r in copy.get(name, ()) if r not in value]
        else:
            copy[name] = self.schema(value, path, depth) if name in _SINGLE else value

    def _resolved(self, copy: JsonObject, reference: str, path: tuple[str, ...], depth: int) -> JsonObject:
        target = _at(self._root, reference)
        if type(target) is not dict:
            return copy
        del copy["$ref"]
        if reference in path or reference == "#":
            self._losses.note("tools.parameters")
            return {"type": "object", **copy}
        found: JsonObject = self.schema(target, (*path, reference), depth + 1)
        return {**found, **copy}


def _at(root: JsonObject, reference: str) -> Any:
    """What a reference within the same schema names; None for any other."""
    if not reference.startswith("#"):
        return None
    node: Any = root
    for step in reference[1:].split("/")[1:]:
        node = node.get(step.replace("~1", "/").replace("~0", "~")) if type(node) is dict else None
    return node


def _merge(copy: JsonObject, parts: list[Any]) -> None:
    """Merge the parts of an `allOf` into the schema that has it; what the schema says itself stays."""
    for part in parts:
        if type(part) is not dict:
            continue
        for name, value in part.items():
            have = copy.get(name)
            if type(have) is dict and type(value) is dict:
                copy[name] = {**value, **have}
            elif type(have) is list and type(value) is list:
                copy[name] = have + [entry for entry in value if entry not in have]
            else:
                copy.setdefault(name, value)
