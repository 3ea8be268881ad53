"""What lies about afterwards: database, logs, metrics and replies of a process that was made to stumble."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import httpx2
import pytest

from tests.support.fake_upstream import FakeUpstream
from tests.support.served import Served
from tests.support.upstream.script import Answer, Json, Reset, Step

pytestmark = pytest.mark.slow

CHOSEN = "gw-canary-chosen-key-0123456789-abcdef"
WRONG = "gw-canary-wrong-key-0123456789-abcdef"
PROVIDER = "sk-canary-provider-0123456789-abcdef"
MASTER = "canary-master-secret-of-these-tests-0123456789"
PROMPT, ANSWER = "canary-prompt-of-the-client", "canary-answer-of-the-model"


class Traces:
    """All that one process left, after good calls and bad ones."""

    def __init__(self) -> None:
        self.replies: list[bytes] = []
        self.database = b""
        self.folder: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        self.log = ""
        self.issued = ""
        self.password = ""


@pytest.fixture(scope="module")
def traces(fake_upstream_server: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traces]:
    left = Traces()
    folder = tmp_path_factory.mktemp("served")
    values = {
        "LLM_GATEWAY_SECRET_KEY": MASTER,
        "LLM_GATEWAY_LOG_LEVEL": "debug",
        "LLM_GATEWAY_BOOTSTRAP_KEY": CHOSEN,
        "OPENAI_API_KEY": PROVIDER,
        "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": fake_upstream_server.openai_url,
    }
    fake_upstream_server.reset()
    with Served(folder, **values) as gateway:
        left.password = gateway.password
        left.issued = gateway.manage("keys", "issue", "--team", "crew").split()[-1]
        _stumble(gateway, fake_upstream_server, left)
        left.replies.append(httpx2.get(gateway.url + "/metrics", timeout=10).content)
    left.log = gateway.log
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "log":
            left.folder[path.name] = path.read_bytes()
            left.modes |= {path.name: path.stat().st_mode} if path.stat().st_size else {}
    with sqlite3.connect(next(folder.glob("*.sqlite3"))) as connection:
        left.database = "\n".join(connection.iterdump()).encode()
    yield left
    fake_upstream_server.reset()


def _stumble(gateway: Served, fake: FakeUpstream, left: Traces) -> None:
    """Calls that succeed, and each kind that does not."""
    leak = {"error": {"message": f"Bad key {PROVIDER} for {PROMPT}", "type": "server_error"}}
    said = [{"role": "user", "content": f"{PROMPT}\nsay:{ANSWER}"}]
    scripts: list[list[Step]] = [[Json(status, leak)] for status in (500, 401, 400)]
    scripts += [[], [Answer(events=3), Reset()]]
    for script in scripts:
        for key in (CHOSEN, left.issued, WRONG):
            for stream in (False, True):
                fake.reset()
                if script:
                    fake.script("", script)
                body = {"model": "gpt-4o", "messages": said, "stream": stream}
                _post(gateway, left, key, json=body)
    fake.reset()
    _post(gateway, left, CHOSEN, content=f'{{"model": "{PROMPT}'.encode())
    for where in (f"/v1/models?api_key={CHOSEN}", f"/v1/files/{PROMPT}", f"/admin/?key={CHOSEN}"):
        left.replies.append(httpx2.get(gateway.url + where, headers={"x-api-key": WRONG}, timeout=10).content)
    with httpx2.Client(base_url=gateway.url, timeout=10) as browser:
        browser.get("/admin/login/")
        form = {
            "username": "admin",
            "password": f"{gateway.password}-wrong",
            "csrfmiddlewaretoken": browser.cookies["gateway_csrf"],
        }
        for query in (f"?next=/admin/?key={CHOSEN}", f"?api_key={WRONG}"):
            reply = browser.post(f"/admin/login/{query}", data=form)
            assert reply.status_code == 200
            # The page says where it was called, to the one who called it there.
            left.replies.append(reply.content.replace(query.encode(), b""))


def _post(gateway: Served, left: Traces, key: str, **body: object) -> None:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    url = gateway.url + "/v1/chat/completions"
    try:
        reply = httpx2.post(url, headers=headers, timeout=20, **body)  # type: ignore[arg-type]  # json or content
    except httpx2.RemoteProtocolError:
        return  # a stream that broke
    if reply.status_code != 200:
        left.replies.append(reply.content + repr(dict(reply.headers)).encode())


def _secrets(traces: Traces) -> list[str]:
    return [CHOSEN, WRONG, PROVIDER, MASTER, traces.issued, traces.password]


def test_it_did_stumble(traces: Traces) -> None:
    said = b"".join(traces.replies)
    assert all(word in said for word in (b"invalid_api_key", b"key_in_url", b"invalid_json", b"upstream_"))
    assert "refused" in traces.log
    assert b"accounts_apikey" in traces.database


def test_s5_s30_no_secret_is_in_a_reply_a_log_or_the_metrics(traces: Traces) -> None:
    for secret in _secrets(traces):
        # The first start prints the admin's password and the first key once, when it made them itself.
        assert secret not in traces.log, secret
        assert not any(secret.encode() in reply for reply in traces.replies), secret


def test_s2_s26_a_dump_of_the_database_opens_nothing(traces: Traces) -> None:
    everything = traces.database + b"".join(traces.folder.values())
    for secret in _secrets(traces):
        # Not the beginning of a secret part, either: 20 letters would do to tell one key from another.
        assert secret.encode() not in everything, secret
        assert secret[-20:].encode() not in everything, secret
    # What it has: the prefix, which names a key, and a digest of 64 hexadecimal letters.
    assert traces.issued[:11].encode() in traces.database


def test_s45_no_prompt_and_no_answer_is_kept(traces: Traces) -> None:
    everything = traces.log.encode() + traces.database + b"".join(traces.folder.values())
    assert PROMPT.encode() not in everything
    assert ANSWER.encode() not in everything
    assert not any(ANSWER.encode() in reply for reply in traces.replies)


def test_s44_no_reply_says_where_a_provider_is_or_how_this_is_built(traces: Traces) -> None:
    for reply in traces.replies[:-1]:
        for word in (b"Traceback", b"/site-packages/", b".py", b"SELECT ", b"sqlite", b"127.0.0.1"):
            assert word not in reply, (word, reply[:300])


def test_s29_what_opens_the_rest_is_read_by_its_owner_alone(traces: Traces) -> None:
    assert traces.modes
    assert not [name for name, mode in traces.modes.items() if mode & 0o077]
