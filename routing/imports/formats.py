"""The formats that can be imported, and the one way in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from routing.configfile import parse
from routing.imports.draft import Draft
from routing.imports.litellm import import_litellm
from routing.imports.oneapi import import_new_api, import_one_api
from routing.imports.reading import read_json, read_yaml

IMPORTED = """\
# Imported from another gateway. Read it, then: manage.py config apply --dry-run FILE, and without --dry-run.
# `env:NAME` is read from the environment of that command.
"""

_READERS: Mapping[str, tuple[Callable[[bytes], Any], Callable[[object, Draft], None]]] = {
    "litellm": (read_yaml, import_litellm),
    "one-api": (read_json, import_one_api),
    "new-api": (read_json, import_new_api),
}
FORMATS = tuple(_READERS)


def import_file(name: str, raw: bytes, *, take_secrets: bool = False) -> Draft:
    """What a file of the named format comes to. Raises ConfigError. `take_secrets`: see Draft."""
    read, carry = _READERS[name]
    draft = Draft(take_secrets=take_secrets)
    carry(read(raw), draft)
    # What is handed on has the right shape, whatever the other file said.
    parse(draft.document())
    return draft
