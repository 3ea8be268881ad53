"""Of the admin's theme, which has no types: what this project uses."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

_Method = TypeVar("_Method", bound=Callable[..., Any])

def action(
    *,
    permissions: Iterable[str] | None = None,
    description: str | None = None,
    url_path: str | None = None,
    icon: str | None = None,
    dialog: Mapping[str, Any] | None = None,
) -> Callable[[_Method], _Method]: ...
def display(
    *,
    description: str | None = None,
    ordering: str | None = None,
    label: bool | str | Mapping[str, str] | None = None,
) -> Callable[[_Method], _Method]: ...
