"""The journal on disk: what is in it survives its process, a full disk costs a line and nothing else."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from accounts.ledger.journal import MAX_HELD, SEGMENT_BYTES, Journal, abandoned

ROOT = Path(__file__).resolve().parents[2]


class Losses:
    """Why lines were dropped."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()

    def __call__(self, reason: str) -> None:
        self.told[reason] += 1


def a_journal(folder: Path, limit: int = 1 << 30) -> tuple[Journal, Losses]:
    losses = Losses()
    return Journal(folder, limit, losses), losses


def carried(journal: Journal) -> list[bytes]:
    found: list[bytes] = []
    while lines := journal.lines():
        found += lines
        journal.carried()
    return found


def some(count: int, size: int = 20) -> list[bytes]:
    return [f"{number}".encode().ljust(size - 1, b".") + b"\n" for number in range(count)]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What a full disk does: a write is done in part, and the next fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_lines_come_back_in_their_order_and_only_once(tmp_path: Path) -> None:
    journal, losses = a_journal(tmp_path)
    assert journal.open()
    lines = some(50)
    for line in lines:
        journal.append(line, vital=True)
    assert journal.depth == sum(map(len, lines))
    assert carried(journal) == lines
    assert (journal.depth, journal.lines(), losses.told) == (0, [], {})
    journal.append(b"more\n", vital=False)
    assert carried(journal) == [b"more\n"]


def test_what_was_taken_and_not_carried_comes_again(tmp_path: Path) -> None:
    journal, _ = a_journal(tmp_path)
    journal.open()
    journal.append(b"one\n", vital=True)
    assert journal.lines() == [b"one\n"]
    journal.append(b"two\n", vital=True)
    assert journal.lines() == [b"one\n", b"two\n"]
    journal.carried()
    assert journal.lines() == []


def test_segments_are_turned_and_deleted_when_they_are_carried(tmp_path: Path) -> None:
    journal, _ = a_journal(tmp_path)
    journal.open()
    lines = some(3000, 1024)
    for line in lines:
        journal.append(line, vital=True)
    assert len(list(tmp_path.glob("*.journal"))) == 1 + 3000 * 1024 // SEGMENT_BYTES
    assert carried(journal) == lines
    assert len(list(tmp_path.glob("*.journal"))) == 1
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_line_longer_than_a_read_is_one_line(tmp_path: Path) -> None:
    journal, _ = a_journal(tmp_path)
    journal.open()
    lines = [b"short\n", b"x" * 700_000 + b"\n", b"short\n"]
    for line in lines:
        journal.append(line, vital=True)
    assert carried(journal) == lines


def test_over_its_limit_beginnings_go_first(tmp_path: Path) -> None:
    journal, losses = a_journal(tmp_path, limit=1000)
    journal.open()
    for line in some(100):
        journal.append(line, vital=False)
    assert losses.told == {"full": 55}
    for line in some(100):
        journal.append(line, vital=True)
    assert losses.told == {"full": 150}
    assert journal.depth == 1000
    assert len(carried(journal)) == 50
    journal.append(b"again\n", vital=False)
    assert carried(journal) == [b"again\n"]


def test_a_full_disk_spoils_no_line_and_memory_bridges_it(tmp_path: Path) -> None:
    journal, losses = a_journal(tmp_path)
    journal.open()
    lines = some(30)
    with files_of_at_most(210):
        for line in lines[:20]:
            journal.append(line, vital=True)
    for line in lines[20:]:
        journal.append(line, vital=True)
    (segment,) = tmp_path.glob("*.journal")
    assert segment.read_bytes() == b"".join(lines[:10] + lines[20:])
    assert sorted(carried(journal)) == sorted(lines)
    assert losses.told == {}
    assert journal.depth == 0


def test_without_disk_or_room_in_memory_lines_are_dropped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal, losses = a_journal(tmp_path / "file" / "ledger")
    assert not journal.open()
    for _ in range(MAX_HELD + 5):
        journal.append(b"x\n", vital=True)
    journal.append(b"x\n", vital=False)
    assert losses.told == {"disk": 6}
    assert len(carried(journal)) == MAX_HELD
    journal.close()


def test_nobody_takes_the_journal_of_a_process_that_lives(tmp_path: Path) -> None:
    journal, _ = a_journal(tmp_path)
    journal.open()
    journal.append(b"one\n", vital=True)
    assert list(abandoned(tmp_path, "another")) == []
    assert list(abandoned(tmp_path, journal.name)) == []
    journal.close()
    (left,) = abandoned(tmp_path, "another")
    # And of two who would take it one does.
    assert list(abandoned(tmp_path, "a third")) == []
    assert left.lines() == [b"one\n"]
    left.carried()
    left.release(empty=True)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_wrote_is_there(tmp_path: Path) -> None:
    program = (
        "import sys, os\n"
        "from pathlib import Path\n"
        "from accounts.ledger.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), 1 << 30, print)\n"
        "journal.open()\n"
        "for number in range(2500):\n"
        "    journal.append(b'%d'.ljust(1000, b'.') % number + b'\\n', vital=True)\n"
        "os.write(1, b'written')\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(7) == b"written"
        assert list(abandoned(tmp_path, "me")) == []
        process.send_signal(signal.SIGKILL)
    # The machine's own crash may cut a line off.
    with max(tmp_path.glob("*.journal")).open("ab") as file:
        file.write(b"half a li")
    (left,) = abandoned(tmp_path, "me")
    found: list[bytes] = []
    while lines := left.lines():
        found += lines
        left.carried()
    assert [int(line.rstrip(b".\n")) for line in found] == list(range(2500))
    assert left.torn == 1
    left.release(empty=True)
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_not_carried_is_left_for_the_next(tmp_path: Path) -> None:
    journal, _ = a_journal(tmp_path)
    journal.open()
    journal.append(b"one\n", vital=True)
    journal.close()
    for _ in range(2):
        (left,) = abandoned(tmp_path, "me")
        assert left.lines() == [b"one\n"]
        left.release(empty=False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    journal, _ = a_journal(tmp_path / "ledger")
    assert not journal.open()
