"""Installs the clients, runs each program against a gateway, and tells what was seen.

.venv/bin/python -m scripts.clients [--only WORD] [--server uvicorn] [--record]
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from scripts.clients.install import frameworks_python, node_folder
from scripts.clients.outcomes import PROVIDERS, Case, Outcomes, table, write_into
from scripts.clients.stage import Stage, stage

_ROOT = Path(__file__).resolve().parents[2]
_DOCUMENT = _ROOT / "docs" / "clients.md"
_NODE = ("openai_sdk", "openai_media", "anthropic_sdk", "vercel_ai", "agents")
_FRAMEWORKS = ("with_langchain", "with_llama_index", "with_pydantic_ai")
_SILENCE = 300.0  # seconds without a case after which a program is given up; a coding agent's turn takes ten
_SETTLE = 0.3  # seconds after a reply until its log line is certainly written


@dataclass(frozen=True, slots=True)
class Program:
    """One program of this folder, as it is started."""

    name: str
    command: tuple[str, ...]
    folder: Path


def main() -> int:
    """Run what was asked for; 1 where any case failed."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--only", default="", help="programs whose names contain this word")
    parser.add_argument("--server", default="daphne", choices=("daphne", "uvicorn"))
    parser.add_argument("--record", action="store_true", help="write the results into docs/clients.md")
    asked = parser.parse_args()
    outcomes = Outcomes()
    programs = list(_programs(asked.only))
    with stage(asked.server) as running:
        for program in programs:
            _follow(program, running, outcomes)
        refused = [request for request in running.fake.requests if request.refusal]
        faults = running.fake.failures
    outcomes.settle()
    when = dt.datetime.now(dt.UTC).date()
    results = table(outcomes, f"Seen on {when}, with the gateway under {asked.server}.")
    print(results)
    if outcomes.failed:
        print("\nWhat the upstream refused, among it what the cases on errors ask for:")
        for request in refused:
            print(f"  {request.method} {request.path} {request.model}: {request.refusal}")
    for fault in faults:
        print(fault)
    if asked.record:
        write_into(_DOCUMENT, results)
    print(f"\n{len(outcomes.cases) - len(outcomes.failed)} of {len(outcomes.cases)} cases passed")
    return 1 if outcomes.failed or faults else 0


def _programs(word: str) -> Iterator[Program]:
    node = [name for name in _NODE if word in name]
    if node:
        folder = node_folder()
        for name in node:
            yield Program(name, ("node", f"{name}.mjs"), folder)
    frameworks = [name for name in _FRAMEWORKS if word in name]
    if frameworks:
        python = str(frameworks_python())
        for name in frameworks:
            yield Program(name, (python, "-m", f"scripts.clients.frameworks.{name}"), _ROOT)


def _follow(program: Program, running: Stage, outcomes: Outcomes) -> None:
    """Run one program and note its cases as they come."""
    client = version = program.name
    for line, go_on in _lines(program, running):
        said = json.loads(line)
        if "client" in said:
            _hear(outcomes, client, running)
            client, version = said["client"], said["version"]
            go_on()
            continue
        case = Case(client, version, said["surface"], said["provider"], said["case"], said["error"])
        outcomes.cases.append(case)
        mark = "ok  " if case.error is None else "FAIL"
        print(f"{mark} {client}: {case.surface} to {PROVIDERS[case.provider]}: {case.name}", file=sys.stderr)
        if case.error is not None:
            print(f"     {case.error}", file=sys.stderr)
    _hear(outcomes, client, running)


def _hear(outcomes: Outcomes, client: str, running: Stage) -> None:
    time.sleep(_SETTLE)
    outcomes.heard(client, running.records())


def _lines(program: Program, running: Stage) -> Iterator[tuple[str, Callable[[], None]]]:
    """The program's lines of JSON, each with what to call where the program waits after it. RuntimeError: it
    ended badly, or fell silent."""
    # The clients' own warnings are only worth reading when a program fails.
    with tempfile.TemporaryFile("w+") as noise:
        process = subprocess.Popen(
            program.command,
            cwd=program.folder,
            env=_environment(os.environ, running),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            text=True,
        )
        try:
            yield from _followed(process)
            fault = "" if process.wait(_SILENCE) == 0 else f"ended with status {process.returncode}"
        except queue.Empty:
            fault = f"said nothing for {_SILENCE:.0f} seconds"
        finally:
            process.kill()
            process.wait()
        if fault:
            noise.seek(0)
            raise RuntimeError(f"{program.name} {fault}:\n{noise.read()}")


def _followed(process: subprocess.Popen[str]) -> Iterator[tuple[str, Callable[[], None]]]:
    """The lines of JSON as they come. queue.Empty: none came for too long."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    go_on = partial(_tell, process.stdin)
    while (line := lines.get(timeout=_SILENCE)) is not None:
        if line.startswith('{"'):
            yield line, go_on


def _read(pipe: IO[str] | None, lines: queue.Queue[str | None]) -> None:
    for line in pipe or ():
        lines.put(line)
    lines.put(None)


def _tell(pipe: IO[str] | None) -> None:
    if pipe is not None:
        pipe.write("\n")
        pipe.flush()


def _environment(outer: Mapping[str, str], running: Stage) -> dict[str, str]:
    """This shell's environment without what clients read of their own accord."""
    spoken = ("OPENAI_", "ANTHROPIC_", "CLAUDE", "CODEX_", "LANGCHAIN_", "LANGSMITH_", "LLM_GATEWAY_")
    kept = {name: value for name, value in outer.items() if not name.startswith(spoken)}
    return {**kept, "GATEWAY_URL": running.url, "GATEWAY_KEY": running.key}


if __name__ == "__main__":
    sys.exit(main())
