"""Checks the house rules that ruff has no rule for, and prints each breach as `path:line: words`.

They are: a file stays short, every module says what it owns, every ignore says why, nothing is `global`.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

# What fits in one head; a pair of dialects is one subject and may be longer.
MAX_LINES = 400
MAX_LINES_IN_DIALECTS = 600

_IGNORE = re.compile(
    r"#\s*(noqa|type:\s*ignore|pragma:\s*no cover)(?P<codes>:\s*[A-Z0-9, ]+|\[[^\]]*\])?(?P<rest>.*)"
)
_WORD = re.compile(r"[A-Za-z]{3}")


def main() -> int:
    """Check every Python file that git knows or could know; 1 when a rule is broken."""
    root = Path(__file__).resolve().parent.parent
    breaches = [breach for path in _python_files(root) for breach in check(path, (root / path).read_text())]
    for breach in breaches:
        print(breach)
    return 1 if breaches else 0


def check(path: Path, source: str) -> list[str]:
    """The breaches in one file; `path` is relative to the project's root."""
    rules = [_ignores_without_reason(source)]
    if "migrations" not in path.parts:
        rules += [_too_long(path, source), _syntax(path, source)]
    return [f"{path}:{line}: {words}" for rule in rules for line, words in rule]


def _python_files(root: Path) -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.py"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return sorted(Path(name) for name in listed.split("\0") if name and (root / name).is_file())


def _too_long(path: Path, source: str) -> Iterator[tuple[int, str]]:
    most = MAX_LINES_IN_DIALECTS if path.parts[0] == "dialects" else MAX_LINES
    count = len(source.splitlines())
    if count > most:
        yield most + 1, f"the file has {count} lines, {most} at most"


def _syntax(path: Path, source: str) -> Iterator[tuple[int, str]]:
    tree = ast.parse(source, filename=str(path))
    if source.strip() and ast.get_docstring(tree) is None:
        yield 1, "the module does not say what it owns"
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield node.lineno, "no `global`: construct it in wiring and hand it in"


def _ignores_without_reason(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        match = _IGNORE.search(token.string)
        if match and not _WORD.search(match["rest"]):
            yield token.start[0], "an ignore says why: `# noqa: X123 - reason`, `# type: ignore[x]  # reason`"


if __name__ == "__main__":
    sys.exit(main())
