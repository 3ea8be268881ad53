"""The status of a gateway that has nothing to complain of."""

from __future__ import annotations

from typing import Any


class AlwaysReady:
    """A status that says yes."""

    def ready(self) -> bool:
        return True

    def waits_for(self) -> str:
        return ""

    def alive(self) -> bool:
        return True

    def degraded(self) -> bool:
        return False

    async def report(self) -> dict[str, Any]:
        return {"detail": "for key holders"}
