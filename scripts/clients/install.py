"""Where the clients are installed: pinned, outside the checkout, and again only when a pin has changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_STAMP = ".pins"


def cache() -> Path:
    """The folder of all that is installed here: XDG_CACHE_HOME/llm-gateway-clients."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "llm-gateway-clients"


def node_folder() -> Path:
    """A folder with the packages of node/package-lock.json and, beside them, the programs: Node looks for a
    program's packages where the program lies. CalledProcessError: npm could not install them."""
    if shutil.which("npm") is None:
        raise SystemExit(
            "Node 20 or newer with npm is needed: https://nodejs.org or a package of your system"
        )
    folder = cache() / "node"
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((_HERE / "node").iterdir()):
        shutil.copy(source, folder)
    if _stale(folder, _HERE / "node" / "package-lock.json"):
        # One needs its script, which links the program that came as another package; the rest run none.
        _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", folder=folder)
        _run("node", "node_modules/@anthropic-ai/claude-code/install.cjs", folder=folder)
        _stamp(folder, _HERE / "node" / "package-lock.json")
    return folder


def frameworks_python() -> Path:
    """The interpreter of an environment with the packages of frameworks/requirements.txt. CalledProcessError:
    uv could not install them."""
    folder, pins = cache() / "python", _HERE / "frameworks" / "requirements.txt"
    python = folder / "bin" / "python"
    if _stale(folder, pins):
        # pip itself refuses pins with hashes where a package is asked for with extras.
        uv = str(Path(sys.executable).with_name("uv"))
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder), folder=_HERE)
        words = ("--quiet", "--python", str(python), "--require-hashes", str(pins))
        _run(uv, "pip", "sync", *words, folder=_HERE)
        _stamp(folder, pins)
    return python


def _run(*command: str, folder: Path) -> None:
    print(f"==> {' '.join(command[:4])} … in {folder}", file=sys.stderr)
    subprocess.run(command, cwd=folder, check=True)


def _stale(folder: Path, pins: Path) -> bool:
    stamp = folder / _STAMP
    return not stamp.is_file() or stamp.read_text() != _digest(pins)


def _stamp(folder: Path, pins: Path) -> None:
    (folder / _STAMP).write_text(_digest(pins))


def _digest(pins: Path) -> str:
    return hashlib.sha256(pins.read_bytes()).hexdigest()
