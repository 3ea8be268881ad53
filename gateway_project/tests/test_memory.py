"""What a process finds out of its memory limit, in containers of either kind and without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway_project.memory import memory_share


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_container_of_today(tmp_path: Path) -> None:
    write(
        tmp_path,
        memory_dot_max="1000\n",
        memory_dot_current="900\n",
        memory_dot_stat="anon 500\ninactive_file 300\n",
    )
    assert memory_share(None, tmp_path)() == pytest.approx(0.6)


def test_a_container_of_yesterday(tmp_path: Path) -> None:
    write(
        tmp_path,
        memory__memory_dot_limit_in_bytes="1000\n",
        memory__memory_dot_usage_in_bytes="500\n",
        memory__memory_dot_stat="total_inactive_file 100\n",
    )
    assert memory_share(None, tmp_path)() == pytest.approx(0.4)


@pytest.mark.parametrize("most", ["max\n", str(2**63 - 4096), "rubbish"])
def test_without_a_limit_nothing_is_short(tmp_path: Path, most: str) -> None:
    write(tmp_path, memory_dot_max=most, memory_dot_current="900\n")
    assert memory_share(None, tmp_path)() == 0.0


def test_files_that_go_away_are_no_pressure(tmp_path: Path) -> None:
    write(tmp_path, memory_dot_max="1000\n", memory_dot_current="900\n")
    share = memory_share(None, tmp_path)
    (tmp_path / "memory.current").unlink()
    assert share() == 0.0


def test_a_limit_of_its_own_is_held_against_the_process() -> None:
    # Far more than a process has that has run half of all tests.
    share = memory_share(1 << 36)()
    assert 0.0 < share < 1.0
    assert memory_share(1 << 20)() > 1.0
