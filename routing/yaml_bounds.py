"""What a YAML document may be: how large and how deep, judged from its events before anything is built of it,
and what may stand in it."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

# A configuration of thousands of routes has a tenth of it.
MAX_VALUES = 200_000
# No configuration nests deeper; the readers behind recurse.
MAX_DEPTH = 40
# No number that means something is longer. Python writes out none of more than 4,300 digits, and reads a
# long one in quadratic time.
_MAX_NUMBER = 1000


def check_bounds(text: str) -> None:
    """Refuse a document that unfolds to more than MAX_VALUES values, what its aliases stand for counted each
    time, that nests deeper than MAX_DEPTH, or that holds itself. Raises yaml.YAMLError."""
    bounds = _Bounds()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        words = bounds.add(event)
        if words:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise yaml.MarkedYAMLError(problem=f"{words} (line {line})")


class Loader(yaml.SafeLoader):
    """Safe YAML in which no key is silently lost and no number is endless."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the library's signature
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be plain text", key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} is written twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def number(self, node: yaml.ScalarNode) -> int | float:
        """A whole number or another, in whatever form YAML knows."""
        if len(node.value) > _MAX_NUMBER:
            words = f"a number is longer than {_MAX_NUMBER} characters"
            raise yaml.constructor.ConstructorError(None, None, words, node.start_mark)
        if node.tag.endswith(":int"):
            return self.construct_yaml_int(node)
        return self.construct_yaml_float(node)


Loader.add_constructor("tag:yaml.org,2002:int", Loader.number)
Loader.add_constructor("tag:yaml.org,2002:float", Loader.number)


class _Bounds:
    """What has been read so far."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._open: list[tuple[str | None, int]] = []
        self._total = 0

    def add(self, event: yaml.Event) -> str:
        """What is wrong with the document by now; "" for nothing."""
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append((event.anchor, self._total))
            self._total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self._open.pop()
            self._note(anchor, self._total - before)
        elif isinstance(event, yaml.ScalarEvent):
            self._total += 1
            self._note(event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in self._open):
                return "an alias stands within what it names"
            self._total += self._sizes.get(event.anchor or "", 1)
        if len(self._open) > MAX_DEPTH:
            return f"it nests deeper than {MAX_DEPTH} levels"
        return f"it unfolds to more than {MAX_VALUES} values" if self._total > MAX_VALUES else ""

    def _note(self, anchor: str | None, size: int) -> None:
        if anchor is not None:
            self._sizes[anchor] = size
