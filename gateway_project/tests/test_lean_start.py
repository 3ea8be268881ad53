"""A process that serves calls holds nothing of the pages before somebody asks for one, and all of them after;
and what is set up apart from it tells what is wrong."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from gateway_project.pages import Once
from tests.support.served import Served

KEY = "a-bootstrap-key-of-the-tests"
HOOKS = Path(__file__).parent / "hooks"
ROOT = Path(__file__).resolve().parents[2]
# Of each room or package that a page or the setting up needs, and calls do not.
PAGES = {
    "accounts.admin",
    "console.manage.urls",
    "console.oidc.views",
    "drf_spectacular.openapi",
    "gateway_project.urls",
    "routing.admin",
    "unfold.admin",
    "unfold.sites",
}
NEVER_HERE = {
    "django.contrib.postgres",
    "gateway_project.first_run",
    "gateway_project.later",
    "psycopg",
    "redis",
    "requests",
    "routing.seed",
}


def wait(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def loaded(gateway: Served) -> set[str]:
    """The names of all modules that the gateway's process has loaded by now."""
    told = gateway.folder / "modules"
    told.unlink(missing_ok=True)
    os.kill(gateway.pid, signal.SIGUSR2)
    wait(told.exists)
    return set(told.read_text().split())


def served(folder: Path, **more: str) -> Served:
    return Served(folder, PYTHONPATH=str(HOOKS), LLM_GATEWAY_BOOTSTRAP_KEY=KEY, **more)


def call(gateway: Served) -> int:
    body = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}
    return httpx.post(
        gateway.url + "/v1/chat/completions", json=body, headers={"x-api-key": KEY}, timeout=60
    ).status_code


@pytest.mark.timeout(180)
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_pages_are_loaded_by_their_first_visitors(tmp_path: Path, server: str) -> None:
    told = str(tmp_path / "modules")
    with served(tmp_path, LLM_GATEWAY_SERVER=server, MODULES_TOLD=told) as gateway:
        assert call(gateway) == 200
        metrics = httpx.get(gateway.url + "/metrics", timeout=60)
        assert (metrics.status_code, "django_http_requests" in metrics.text) == (200, True)
        assert 'surface="chat"' in metrics.text
        before = loaded(gateway)
        assert before & (PAGES | NEVER_HERE) == set()
        # What is looked for is spelt as it is loaded.
        assert {"accounts.models", "rest_framework.views", "django.core.handlers.asgi"} <= before

        def visit(address: str) -> int:
            return httpx.get(gateway.url + address, timeout=60).status_code

        visits = {"/admin/login/": 200, "/": 302, "/manage/v1/teams": 401, "/admin/routing/route/": 302}
        with ThreadPoolExecutor(3 * len(visits) + 1) as pool:
            calls = pool.submit(call, gateway)
            seen = [(address, pool.submit(visit, address)) for address in [*visits] * 3]
            assert {(address, status.result()) for address, status in seen} == set(visits.items())
            assert calls.result() == 200
        after = loaded(gateway)
        assert after >= PAGES
        assert after & NEVER_HERE == set()
        sign_in(gateway)
        assert gateway.end() == 0


def sign_in(gateway: Served) -> None:
    """The admin is whole: its first page, and one that the theme and the project's own pages made."""
    with httpx.Client(base_url=gateway.url, timeout=60, follow_redirects=True) as browser:
        browser.get("/admin/login/")
        form = {
            "username": "admin",
            "password": gateway.password,
            "csrfmiddlewaretoken": browser.cookies["gateway_csrf"],
        }
        page = browser.post("/admin/login/?next=/admin/", data=form, headers={"referer": gateway.url})
        assert (page.status_code, "Last changes" in page.text) == (200, True)
        assert browser.get("/admin/accounts/team/").status_code == 200


def test_a_check_that_fails_is_told_once_and_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as refused, served(tmp_path, FAILS_A_CHECK="yes"):
        pass
    assert str(refused.value).count("broken on purpose") == 1
    assert "Traceback" not in str(refused.value)


def test_a_database_that_is_none_is_told_once_and_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "gateway.sqlite3").write_bytes(b"This is no database. " * 200)
    with pytest.raises(RuntimeError) as refused, served(tmp_path):
        pass
    assert str(refused.value).count("the database cannot be set up: DatabaseError") == 1
    assert "Traceback" not in str(refused.value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_while_it_is_set_up_ends_all_of_it(
    tmp_path: Path, number: signal.Signals, workers: str
) -> None:
    gateway = served(tmp_path, LLM_GATEWAY_WORKERS=workers)
    with (tmp_path / "setup.lock").open("w") as lock:
        # As another start would that is still at it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        with subprocess.Popen(
            [sys.executable, "manage.py", "serve"], cwd=ROOT, env=gateway.environ, stderr=subprocess.PIPE
        ) as process:
            parent = psutil.Process(process.pid)
            wait(lambda: any(_waits(child, tmp_path / "setup.lock") for child in parent.children()))
            [child] = parent.children()
            parent.send_signal(number)
            process.communicate(timeout=60)
            assert process.returncode == -number
            assert not child.is_running()


def test_where_no_fork_is_safe_it_is_set_up_in_the_process(tmp_path: Path) -> None:
    script = """
import os, socket, sys
import django
from django.conf import settings
django.setup()
from gateway_project.management.commands.serve import Command
sys.platform = "another"
os.fork = None
with socket.socket() as listener:
    Command()._prepare(settings.GATEWAY, listener)
    assert listener.fileno() >= 0
"""
    environ = served(tmp_path).environ
    del environ["LLM_GATEWAY_BOOTSTRAP_KEY"]
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.count("First key")) == (0, 1), done.stderr


def _waits(process: psutil.Process, file: Path) -> bool:
    try:
        return any(Path(each.path) == file for each in process.open_files())
    except psutil.NoSuchProcess:
        return False


async def test_who_waits_is_told_what_failed_and_the_next_one_tries_again() -> None:
    tries = []

    def make() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("not yet")
        return "made"

    once = Once(make)
    told = await asyncio.gather(once.get(), once.get(), return_exceptions=True)
    assert [type(each) for each in told] == [ValueError, ValueError]
    assert len(tries) == 1
    assert set(await asyncio.gather(once.get(), once.get())) == {"made"}
    assert await once.get() == "made"
    assert len(tries) == 2


async def test_who_leaves_takes_it_away_from_nobody() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    tries = []

    def make() -> str:
        tries.append(1)
        loop.call_soon_threadsafe(asked.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(60)
        return "made"

    once = Once(make)
    leaves, stays = asyncio.create_task(once.get()), asyncio.create_task(once.get())
    await asked.wait()
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    go_on.set()
    assert await stays == "made"
    assert len(tries) == 1
