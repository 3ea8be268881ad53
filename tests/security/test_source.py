"""What the source itself must hold to: no built queries, nothing executed, all pinned, a closed container."""

from __future__ import annotations

import ast
import re
import site
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

_ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = ("accounts", "apiv1", "console", "dialects", "gateway_project", "pipeline", "providers", "routing")
# Each of these writes to tables; none is on a call's path, and none sees a key that a client sent.
_SQL = {
    "accounts/index_beside.py",  # an index's own name, in a migration
    "accounts/ledger/folding.py",
    "accounts/ledger/keep.py",
    "accounts/ledger/rollup.py",
    "accounts/ledger/sums.py",
    "accounts/ledger/table.py",
    # Reads: a column of a fixed table of them around what Django made of the question.
    "accounts/ledger/usage.py",
    "gateway_project/first_run.py",
    "pipeline/redis_link.py",  # a pipeline of Redis, whose commands are lists of values
    "pipeline/semantic/postgres.py",
    # The numbers of drafted rows on SQLite: a table's own name, and a number.
    "routing/drafts.py",
}
# Django's two ways to write a part of a query oneself, on whatever gives rows.
_ON_ROWS = re.compile(r"(?:objects|manager|queryset|rows|\))\.(?:raw|extra)$")


def _sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in _FOLDERS:
        for path in sorted((_ROOT / folder).rglob("*.py")):
            name = path.relative_to(_ROOT).as_posix()
            if "/tests/" not in name and "/migrations/" not in name:
                yield name, ast.parse(path.read_text())


def _calls() -> Iterator[tuple[str, str, ast.Call]]:
    """File, the last part of what is called, and the call."""
    for name, tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func
                last = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                yield name, last, node


def test_s1_no_query_is_built_where_a_client_could_reach_it() -> None:
    found = list(_calls())
    assert not [(name, last) for name, last, _ in found if last == "RawSQL"]
    assert not [name for name, _, call in found if _ON_ROWS.search(ast.unparse(call.func))]
    assert {name for name, last, _ in found if last == "execute"} <= _SQL
    # SQLite's way to write a batch, of the journal's own values.
    assert {name for name, last, _ in found if last == "executemany"} <= {"accounts/ledger/table.py"}


def test_s40_nothing_that_was_stored_or_sent_is_executed() -> None:
    for name, last, node in _calls():
        plain = isinstance(node.func, ast.Name)
        assert not (plain and last in {"exec", "eval", "compile", "__import__"}), name
        assert last not in {"system", "popen", "unsafe_load", "from_string", "mark_safe"}, name
        if last in {"Popen", "run", "call", "check_output"} and "subprocess" in ast.dump(node.func):
            # The server starts its own workers, by a list of words.
            assert name == "gateway_project/workers.py"
            assert not any(keyword.arg == "shell" for keyword in node.keywords)


def test_s40_nothing_that_executes_what_it_reads_is_imported() -> None:
    for file, tree in _sources():
        modules: set[str] = set()
        for each in ast.walk(tree):
            if isinstance(each, ast.Import):
                modules |= {alias.name for alias in each.names}
            elif isinstance(each, ast.ImportFrom):
                modules.add(each.module or "")
        packages = {module.partition(".")[0] for module in modules}
        assert not packages & {"pickle", "marshal", "shelve", "jinja2"}, file


def test_s40_no_page_prints_what_it_was_given_as_html() -> None:
    for path in (_ROOT / "templates").rglob("*.html"):
        text = path.read_text()
        assert "|safe" not in text.replace(" ", ""), path.name
        assert "autoescape off" not in text, path.name


@pytest.mark.parametrize(
    "name",
    ["requirements", "requirements-dev", "requirements-audit", "scripts/clients/frameworks/requirements"],
)
def test_s54_every_package_is_pinned_by_version_and_hash(name: str) -> None:
    text = re.sub(r"\\\n\s*", " ", (_ROOT / f"{name}.txt").read_text())
    rows = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert rows
    for row in rows:
        assert re.match(r"[A-Za-z0-9._-]+(\[[^\]]+\])?==[^ ]+ ", row), row
        assert "--hash=sha256:" in row, row


def test_s54_packages_are_installed_by_their_hashes_alone() -> None:
    assert "--require-hashes" in (_ROOT / "scripts" / "venv.sh").read_text()
    container = (_ROOT / "Dockerfile").read_text()
    installs = [line for line in container.splitlines() if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line and "--only-binary :all:" in line for line in installs)


def test_s54_no_package_runs_code_when_python_starts() -> None:
    """A `.pth` file may, in every process, whether its package is imported or not: stealers come in so."""
    folders = [Path(folder) for folder in {*site.getsitepackages(), *sys.path} if "site-packages" in folder]
    assert folders
    # setuptools' own shim, of which an environment's first pip brings a copy.
    found = {path.name for folder in folders for path in folder.glob("*.pth")}
    assert found <= {"distutils-precedence.pth"}


def test_s55_the_container_is_closed() -> None:
    container = (_ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (\d+):\d+$", container, re.MULTILINE) == ["10001"]
    assert not re.findall(r"(?i)^(?:ENV|ARG) .*(?:SECRET|PASSWORD|API_KEY|TOKEN)", container, re.MULTILINE)
    service = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())["services"]["gateway"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(re.fullmatch(r"/[a-z/]+:size=\d+m", mount) for mount in service["tmpfs"])
    ignored = (_ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert not [line for line in ignored if line.startswith(("!.env", "!var"))]
