"""How much of the memory that this process may use is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

# Where a container's limit is read: version 2 of control groups, then version 1.
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
_USED = ("memory.current", "memory/memory.usage_in_bytes")
_STAT = ("memory.stat", "memory/memory.stat")
_ROOT = Path("/sys/fs/cgroup")
# A limit above this is none: version 1 writes a number near 2^63 for "no limit".
_NO_LIMIT = 1 << 50
# The share of a container at which somebody must go before the kernel picks one: all new calls are refused
# from 92 % on, so what still grows is a leak or streams that nobody reads.
_HARD = 0.97


def memory_share(limit: int | None, root: Path = _ROOT) -> Callable[[], float]:
    """A function that tells the share in use, 0.0 where no limit is known.

    `limit` in bytes is this process's own; None: the container's, against which all that is in it counts.
    """
    if limit is not None:
        return lambda: _resident("self") / limit
    for where, used, stat in zip(_LIMITS, _USED, _STAT, strict=True):
        most = _number(root / where)
        if most is not None and most < _NO_LIMIT:
            return _of_container(root / used, root / stat, most)
    return lambda: 0.0


def worst(limit: int | None, root: Path = _ROOT) -> Callable[[Sequence[int]], int | None]:
    """A function that tells which of these processes takes so much memory that it must be replaced; None:
    none of them. `limit` in bytes is each one's own; None: the container's, of which a little is left then.
    """
    share = memory_share(None, root)

    def find(processes: Sequence[int]) -> int | None:
        sizes = {_resident(process): process for process in processes}
        if not sizes:
            return None
        over = share() >= _HARD if limit is None else max(sizes) > limit
        return sizes[max(sizes)] if over else None

    return find


def _of_container(used: Path, stat: Path, most: int) -> Callable[[], float]:
    def share() -> float:
        taken = _number(used)
        # Pages of files that nobody uses are given back when memory is short.
        return 0.0 if taken is None else max(0, taken - _inactive(stat)) / most

    return share


def _resident(process: int | str) -> int:
    """Resident bytes of a process, 0 where the platform does not say."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _inactive(stat: Path) -> int:
    try:
        for line in stat.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    except (OSError, ValueError):
        pass
    return 0
