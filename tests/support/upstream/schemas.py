"""JSON schemas as the providers read them: instances made from them, and what their strict modes refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

_LEAVES: dict[str, Any] = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "null": None}
_CLAUDE_UNSUPPORTED = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "patternProperties",
    "if",
    "then",
    "else",
    "not",
    "contains",
    "prefixItems",
    "oneOf",
)
_OPENAI_UNSUPPORTED = (
    "oneOf",
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "dependentRequired",
)


def schema_fault(schema: Any) -> str | None:
    """Why this is no JSON schema; None: it is one."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return str(error.message)
    return None


def instance(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A small deterministic value that fits the schema; every property is given, every array has one item."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > 8:
        return None
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return instance(_resolve(schema["$ref"], root), root, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return instance(schema[key][0], root, depth + 1)
    return _of_type(schema, root, depth)


def _of_type(schema: dict[str, Any], root: Any, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: instance(part, root, depth + 1) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance(schema.get("items", {}), root, depth + 1)]
    return _LEAVES.get(kind, "text")


def _resolve(ref: str, root: Any) -> Any:
    node = root
    for part in ref.removeprefix("#").strip("/").split("/"):
        node = node.get(part, {}) if isinstance(node, dict) and part else node
    return node


def nodes(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every subschema with its path, in OpenAI's spelling of paths, the schema itself first."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for group in ("properties", "$defs", "definitions"):
        for name, part in (schema.get(group) or {}).items():
            yield from nodes(part, (*path, group, name))
    if "items" in schema:
        yield from nodes(schema["items"], (*path, "items"))
    for group in ("anyOf", "oneOf", "allOf"):
        for index, part in enumerate(schema.get(group) or ()):
            yield from nodes(part, (*path, group, str(index)))


def openai_strict_fault(schema: Any) -> str | None:
    """What OpenAI's strict mode says against a schema; None: nothing."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        kind = schema.get("type") if isinstance(schema, dict) else None
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    if fault := schema_fault(schema):
        return fault
    for path, node in nodes(schema):
        where = "(" + ", ".join(f"'{part}'" for part in path) + ("," if len(path) == 1 else "") + ")"
        if fault := _openai_node_fault(node):
            return f"In context={where}, {fault}"
    return None


def _openai_node_fault(node: dict[str, Any]) -> str | None:
    for word in _OPENAI_UNSUPPORTED:
        if word in node:
            return f"'{word}' is not permitted."
    if node.get("type") == "object" or "properties" in node:
        if node.get("additionalProperties") is not False:
            return "'additionalProperties' is required to be supplied and to be false."
        missing = [name for name in node.get("properties", {}) if name not in node.get("required", [])]
        if missing:
            return (
                "'required' is required to be supplied and to be an array including every key in properties. "
                f"Missing '{missing[0]}'."
            )
    elif not node.keys() & {"type", "$ref", "anyOf", "enum", "const"}:
        return "schema must have a 'type' key."
    return None


def claude_format_fault(schema: Any) -> str | None:
    """What Anthropic's structured outputs say against a schema; None: nothing."""
    if fault := schema_fault(schema):
        return f"JSON schema is invalid: {fault}"
    for _, node in nodes(schema):
        kind = node.get("type")
        if kind == "object" and node.get("additionalProperties") is not False:
            return "For 'object' type, 'additionalProperties' must be explicitly set to false"
        for word in _CLAUDE_UNSUPPORTED:
            if word in node:
                return f"For '{kind}' type, property '{word}' is not supported"
    return None
