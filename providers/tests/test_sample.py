"""The smallest value of a schema satisfies it, as an independent validator sees it."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from providers.sample import SchemaTooLargeError, sample

NODE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
    "required": ["next"],
}


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "null"},
        {"type": "boolean"},
        {"type": "integer"},
        {"type": "integer", "minimum": 3},
        {"type": "integer", "exclusiveMinimum": 3, "multipleOf": 2},
        {"type": "integer", "maximum": -2},
        {"type": "number", "exclusiveMaximum": -2.5},
        {"type": ["string", "null"]},
        {"type": "string", "minLength": 20},
        {"type": "string", "maxLength": 2},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "uuid"},
        {"const": {"a": [1]}},
        {"enum": ["b", 1]},
        {"type": "array", "items": {"type": "integer"}},
        {"type": "array", "items": {"enum": ["x"]}, "minItems": 3},
        {"items": {"type": "integer"}},
        {"properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False},
        {"type": "object", "properties": {"a": {"type": "boolean"}}, "additionalProperties": False},
        {"type": "object", "required": ["unknown"]},
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {
            "allOf": [
                {"$ref": "#/$defs/a~1b"},
                {"properties": {"y": {"type": "string"}}, "required": ["y"]},
            ],
            "$defs": {"a/b": {"type": "object", "properties": {"x": {"const": 5}}, "required": ["x"]}},
        },
        {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
        {
            "type": "object",
            "properties": {"n": {"$ref": "#/$defs/node"}},
            "required": ["n"],
            "$defs": {"node": NODE},
        },
    ],
    ids=repr,
)
def test_the_sample_satisfies_its_schema(schema: Any) -> None:
    checker = jsonschema.FormatChecker()
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(sample(schema))
    assert sample(schema) == sample(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 5},
        {"type": "object", "required": "a", "properties": []},
        {"type": "array", "minItems": "x"},
        {"type": "string", "minLength": -5, "maxLength": -1, "format": []},
        {"type": "integer", "minimum": True, "maximum": "x"},
        {"enum": [], "anyOf": [], "allOf": 3, "oneOf": [None]},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.com/elsewhere"},
        {"type": []},
        None,
        [1],
    ],
    ids=repr,
)
def test_a_schema_that_is_none_gives_some_value(schema: Any) -> None:
    sample(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "array", "minItems": 1, "items": {"$ref": "#"}},
        {"type": "array", "minItems": 10**9},
        {"anyOf": [{"$ref": "#"}]},
        {"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]},
    ],
    ids=repr,
)
def test_a_schema_without_end_has_no_sample(schema: Any) -> None:
    with pytest.raises(SchemaTooLargeError):
        sample(schema)
