"""How long the admin's pages and the management API's lists take where the ledger has millions of rows.

python -m bench.pages                      # five million requests on a PostgreSQL of its own: some minutes
python -m bench.pages --requests 500000    # fewer
python -m bench.pages --keep FOLDER        # one more file of every visit, as lines of JSON

Each page is fetched twice by Django's test client, with all that a server does but its socket: the table has
the slower of both, how much of it the database took, and the number of queries; the slowest come first.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

from tests.support.services import PostgresServer

# What somebody waits for without asking himself whether it still works.
BOUND = 1.0
_ROOT = Path(__file__).resolve().parent.parent
# Django's models can be imported only when it is set up.
_BEGIN = (
    "import django, runpy; django.setup(); runpy.run_module('bench.page_visits', run_name='__main__', "
    "alter_sys=True)"
)


def environment(database: str, folder: Path) -> dict[str, str]:
    """A gateway's own, with none of this shell's settings."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LLM_GATEWAY", "OTEL_"))
    }
    return {
        **kept,
        "DJANGO_SETTINGS_MODULE": "gateway_project.settings",
        "LLM_GATEWAY_ENVIRONMENT": "development",
        "LLM_GATEWAY_CONFIG": os.devnull,
        "LLM_GATEWAY_DATA_DIR": str(folder),
        "LLM_GATEWAY_DATABASE_URL": database,
        "LLM_GATEWAY_SECRET_KEY": secrets.token_urlsafe(48),
    }


def table(visits: Sequence[dict[str, Any]], most: int) -> Iterator[str]:
    """The slowest, and how many are over the bound."""
    yield "| page | who | ms | in the database | queries | KiB |"
    yield "|---|---|---|---|---|---|"
    for each in sorted(visits, key=lambda visit: -visit["seconds"])[:most]:
        milliseconds = [f"{each[name] * 1000:,.0f}" for name in ("seconds", "database")]
        words = [
            f"`{each['page']}`",
            each["who"],
            *milliseconds,
            str(each["queries"]),
            str(each["kilobytes"]),
        ]
        yield "| " + " | ".join(words) + " |"
    over = [each for each in visits if each["seconds"] > BOUND]
    wrong = [each for each in visits if each["status"] != 200]
    yield ""
    yield f"{len(visits)} visits, {len(over)} over {BOUND:.0f} s, {len(wrong)} not answered with 200."
    yield from (f"{each['status']}: {each['page']} ({each['who']})" for each in wrong)


def main(words: Sequence[str]) -> int:
    """Exit code 0; 1 when a page took too long or failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description="How long pages take.")
    parser.add_argument("--requests", type=int, default=5_000_000, metavar="N", help="of the ledger")
    parser.add_argument("--most", type=int, default=40, metavar="N", help="lines of the table (40)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where every visit is written down")
    parser.add_argument("--database", metavar="URL", help="an empty one; without it a server is started")
    said = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="bench-pages-") as folder, closing(PostgresServer()) as server:
        database = said.database or server.start().create_database("pages")
        environ = environment(database, Path(folder))
        began = perf_counter()
        child = [sys.executable, "-c", _BEGIN]
        subprocess.run([*child, "fill", str(said.requests)], env=environ, cwd=_ROOT, check=True)
        print(f"filled in {perf_counter() - began:.0f} s\n", flush=True)
        done = subprocess.run(
            [*child, "visit"], env=environ, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True
        )
    if said.keep:
        (said.keep / "pages.jsonl").write_text(done.stdout)
    visits = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    print("\n".join(table(visits, said.most)))
    return int(any(each["seconds"] > BOUND or each["status"] != 200 for each in visits))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
