"""JSON schemas across providers: what each one's structured output accepts, and how to get there."""

from __future__ import annotations

from typing import Any

import orjson

# Keywords that Anthropic's grammar refuses; what they ask is said in the description instead.
_REFUSED = frozenset(
    {
        "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength",
        "minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "patternProperties",
        "propertyNames", "if", "then", "else", "not", "contains", "minContains", "maxContains",
        "prefixItems", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems",
    }
)  # fmt: skip
# Keywords whose value is a schema, a list of schemas, or a dictionary of schemas.
_ONE = ("items", "additionalProperties")
_MANY = ("anyOf", "allOf", "oneOf")
_NAMED = ("properties", "$defs", "definitions")
# What OpenAI's strict mode refuses.
_NOT_STRICT = frozenset(
    {
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
    }
)


def as_object(schema: Any) -> dict[str, Any]:
    """A tool's parameters with the `type: object` that every provider wants at the top."""
    if type(schema) is not dict or not schema:
        return {"type": "object", "properties": {}}
    return schema if schema.get("type") == "object" else {**schema, "type": "object"}


def without_top_choice(schema: dict[str, Any]) -> dict[str, Any]:
    """An object schema without `anyOf`, `oneOf` or `allOf` at its top, where Anthropic refuses them in a
    tool: the alternatives' properties are all offered, and what every alternative requires is required."""
    groups = [schema[name] for name in _MANY if type(schema.get(name)) is list]
    if not groups:
        return schema
    merged = {name: value for name, value in schema.items() if name not in _MANY}
    properties = dict(_dict(schema.get("properties")))
    required = list(_list(schema.get("required")))
    for name in _MANY:
        options = [option for option in _list(schema.get(name)) if type(option) is dict]
        for option in options:
            properties = {**_dict(option.get("properties")), **properties}
        wanted = [_list(option.get("required")) for option in options]
        every = [w for one in wanted for w in one] if name == "allOf" else _common(wanted)
        required += [w for w in every if w not in required]
    merged["properties"] = properties
    if required:
        merged["required"] = required
    return merged


def _common(lists: list[list[Any]]) -> list[Any]:
    return [item for item in lists[0] if all(item in other for other in lists)] if lists else []


def _dict(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else {}


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []


def for_anthropic(schema: Any) -> Any:
    """A copy that Anthropic's structured output accepts: objects closed, refused keywords told in the
    description, `oneOf` as `anyOf`. Depth is bounded by the parser's limit."""
    if type(schema) is not dict:
        return schema
    clean: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _REFUSED:
            told[name] = value
        elif name in _NAMED and type(value) is dict:
            clean[name] = {key: for_anthropic(inner) for key, inner in value.items()}
        elif name in _MANY and type(value) is list:
            options = [for_anthropic(inner) for inner in value]
            if name == "oneOf" and "anyOf" not in schema:
                name = "anyOf"
            clean[name] = options
        else:
            clean[name] = for_anthropic(value) if name in _ONE else value
    if schema.get("type") == "object" or "properties" in schema:
        clean["additionalProperties"] = False
    if told:
        words = orjson.dumps(told).decode()[1:-1]
        described = clean.get("description")
        clean["description"] = f"{described}\n\n{{{words}}}" if described else f"{{{words}}}"
    return clean


def is_strict(schema: Any) -> bool:
    """True when OpenAI's strict mode accepts the schema: every object closed and all of it required."""
    stack = [schema]
    while stack:
        node = stack.pop()
        if type(node) is not dict or not _NOT_STRICT.isdisjoint(node):
            return False
        properties = node.get("properties")
        is_object = node.get("type") == "object" or properties is not None
        if is_object and not _is_closed(node, properties):
            return False
        stack += _below(node)
    return True


def _is_closed(node: dict[str, Any], properties: Any) -> bool:
    required = node.get("required", [])
    if type(properties) is not dict or type(required) is not list:
        return False
    return node.get("additionalProperties") is False and all(name in required for name in properties)


def _below(node: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for name in _NAMED:
        inner = node.get(name)
        if type(inner) is dict:
            found += inner.values()
    options = node.get("anyOf")
    if type(options) is list:
        found += options
    if "items" in node:
        found.append(node["items"])
    return found
