"""config apply and what people have edited by hand: it is told, and not written over unless one says so."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from providers.models import Credential
from routing.models import Route
from routing.revisions import latest, publish
from routing.seed import AUTHOR
from routing.tests.admin_pages import browser, form_of, page
from tests.support.rows import make_provider, make_route
from tests.support.served import Served

FILE = """
routes:
  - {pattern: 'gpt-*', tries: 2, losses: strict, targets: [{provider: openai, weight: 5}]}
"""


@pytest.fixture
def route(db: None, tmp_path: Path) -> Route:
    """As it is after a start, a start's change, and the file."""
    provider = make_provider("openai")
    found = make_route("gpt-*", provider)
    publish(AUTHOR, "first start")
    Route.objects.update(tries=3)
    publish(AUTHOR, "start: the environment or the price list has changed")
    apply(tmp_path)
    return found


def apply(folder: Path, text: str = FILE, **options: Any) -> str:
    path, said = folder / "gateway.yaml", StringIO()
    path.write_text(text)
    call_command("config", "apply", str(path), stdout=said, stderr=said, **options)
    return said.getvalue()


def edit(who: str = "olga", /, **values: Any) -> None:
    """A route's form, saved by somebody."""
    user, _ = User.objects.get_or_create(username=who, is_staff=True, is_superuser=True)
    address = page("routing_route_change", Route.objects.get().pk)
    client = browser(user)
    assert client.post(address, {**form_of(client, address), **values}).status_code == 302


def test_a_file_follows_itself_and_the_start(route: Route, tmp_path: Path) -> None:
    assert "published as revision" in apply(tmp_path, FILE.replace("tries: 2", "tries: 1"))
    assert "No changes." in apply(tmp_path, FILE.replace("tries: 2", "tries: 1"))


def test_an_edit_is_not_written_over_unless_one_says_so(route: Route, tmp_path: Path) -> None:
    edit(tries=1, losses="warn")
    edit("ann", losses="silent")
    before = latest()
    with pytest.raises(CommandError) as refused:
        apply(tmp_path)
    lines = str(refused.value).splitlines()
    assert lines[0] == "It would write over what was edited:"
    assert sorted(line.partition(" (")[0] for line in lines[1:-1]) == [
        f"route gpt-*: losses, by ann in revision {before}",
        f"route gpt-*: tries, by olga in revision {before - 1}",
    ]
    assert (latest(), Route.objects.get().tries) == (before, 1)
    told = apply(tmp_path, dry_run=True)
    assert told.count("Writes over an edit: route gpt-*") == 2
    assert latest() == before
    assert "Writes over an edit" in apply(tmp_path, overwrite=True)
    assert (Route.objects.get().tries, Route.objects.get().losses) == (2, "strict")
    # By now it is the file's own again.
    apply(tmp_path, FILE.replace("tries: 2", "tries: 3"))


def test_what_the_file_leaves_alone_or_says_alike_is_no_trouble(route: Route, tmp_path: Path) -> None:
    edit(priority=7, tries=1)
    apply(tmp_path, FILE.replace("tries: 2", "tries: 1").replace("strict", "warn"))
    route.refresh_from_db()
    assert (route.priority, route.tries, route.losses) == (7, 1, "warn")


def test_an_object_that_somebody_added_is_not_taken_away_unseen(route: Route, tmp_path: Path) -> None:
    other = make_provider("other")
    publish("ann", "provider other added")
    edit(
        **{
            "targets-TOTAL_FORMS": "2",
            "targets-1-provider": other.pk,
            "targets-1-tier": 1,
            "targets-1-weight": 1,
        }
    )
    assert Route.objects.get().targets.count() == 2
    with pytest.raises(CommandError, match=r"target other of gpt-\*: the object itself, by olga"):
        apply(tmp_path)
    edit(**{"targets-0-weight": 9, "targets-1-DELETE": "on"})
    with pytest.raises(CommandError, match=r"target openai of gpt-\*: weight, by olga"):
        apply(tmp_path)


def test_a_secret_that_somebody_entered_is_told_and_not_shown(
    route: Route, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEW_KEY", "sk-canary-of-the-file-1234")
    Credential.objects.update(sealed="of another hand", last4="wxyz")
    publish("olga", "a new secret")
    with pytest.raises(CommandError) as refused:
        apply(tmp_path, "providers: {openai: {api_key: 'env:NEW_KEY'}}")
    assert "secret, by olga" in str(refused.value)
    assert "canary" not in str(refused.value)


@pytest.mark.timeout(180)
def test_on_a_terminal_the_plan_is_shown_and_asked(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text("teams: [{name: crew}]")
    with Served() as served:

        def ask(answer: bytes) -> subprocess.CompletedProcess[str]:
            here, there = pty.openpty()
            os.write(here, answer)
            words = [sys.executable, "manage.py", "config", "apply", str(path)]
            try:
                return subprocess.run(
                    words,
                    stdin=there,
                    env=served.environ,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=60,
                )
            finally:
                os.close(here)
                os.close(there)

        for answer in (b"n\n", b"\n"):
            said = ask(answer)
            assert (said.returncode, "+ team crew" in said.stdout) == (1, True), said
            assert "Nothing was changed." in said.stderr
            assert "crew" not in served.manage("config", "export")
        done = ask(b"y\n")
        assert (done.returncode, "published as revision" in done.stdout) == (0, True), done
        assert "crew" in served.manage("config", "export")
        # Whoever pipes is not asked.
        assert "No changes." in served.manage("config", "apply", str(path))
