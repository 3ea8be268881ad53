"""Judges how the outcomes of `make clients` are counted and written down; the clients need a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from openai import OpenAI

from scripts.clients.install import cache
from scripts.clients.outcomes import BEGIN, END, Case, Outcomes, table, write_into
from scripts.clients.stage import stage

TEXT = Case("sdk", "1.2", "chat", "ollama", "text", None)
TOOLS = Case("sdk", "1.2", "chat", "ollama", "tools", "Error: a | b\n`c`")


def test_a_row_counts_what_passed_of_what_was_tried() -> None:
    outcomes = Outcomes([TEXT, TOOLS])
    outcomes.heard("sdk", [{"surface": "chat", "provider": "ollama", "dropped": ["seed"]}])
    outcomes.settle()
    told = table(outcomes, "Today.")
    assert "| sdk 1.2 | chat |  |  | 1 of 2 | text, tools |" in told
    assert "- sdk, chat, Ollama, tools: `Error: a / b 'c'`" in told
    assert "- chat to Ollama: `seed` (sdk)" in told


def test_what_the_gateway_has_not_seen_has_failed() -> None:
    outcomes = Outcomes([TEXT])
    outcomes.heard("sdk", [{"surface": "chat", "provider": "openai", "dropped": None}])
    outcomes.heard("another", [{"surface": "chat", "provider": "ollama", "dropped": None}])
    outcomes.settle()
    assert [case.name for case in outcomes.failed] == ["seen by the gateway"]


def test_a_list_of_models_asks_no_provider() -> None:
    outcomes = Outcomes([Case("sdk", "1.2", "models", "ollama", "list", None)])
    outcomes.settle()
    assert outcomes.failed == []
    assert "- nothing" in table(outcomes, "Today.")


def test_results_replace_those_of_the_last_run(tmp_path: Path) -> None:
    document = tmp_path / "clients.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_into(document, "new")
    assert document.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_a_document_without_a_place_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "clients.md"
    document.write_text(f"before\n{BEGIN}\n")
    with pytest.raises(ValueError, match="no place"):
        write_into(document, "new")
    assert document.read_text() == f"before\n{BEGIN}\n"


def test_nothing_is_installed_into_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache() == tmp_path / "llm-gateway-clients"


@pytest.mark.slow
def test_the_gateways_log_tells_who_was_asked() -> None:
    with stage("uvicorn") as running:
        client = OpenAI(base_url=running.url + "/v1", api_key=running.key, max_retries=0)
        for model in ("gpt-4.1", "gpt-5.6-sol"):
            client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hi"}], seed=1)
        seen: list[tuple[str, str, list[str] | None]] = []
        while len(seen) < 2:
            seen += [(one["surface"], one["provider"], one.get("dropped")) for one in running.records()]
        client.close()
    assert seen == [("chat", "openai", None), ("chat", "anthropic", ["seed"])]
