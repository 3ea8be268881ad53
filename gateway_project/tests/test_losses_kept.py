"""What a whole process lost in translation is in the table when it has ended."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from pathlib import Path

import pytest

from tests.support.served import Served

KEY = "a-key-for-the-tests-of-losses"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_loss_outlives_the_process(server: str, tmp_path: Path) -> None:
    with Served(tmp_path, LLM_GATEWAY_SERVER=server, LLM_GATEWAY_BOOTSTRAP_KEY=KEY) as gateway:
        body = {
            "model": "sandbox",
            "max_tokens": 50,
            "top_k": 5,
            "messages": [{"role": "user", "content": "hi"}],
        }
        request = urllib.request.Request(
            gateway.url + "/v1/messages",
            json.dumps(body).encode(),
            {"x-api-key": KEY, "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            assert response.headers["x-gateway-dropped"] == "top_k"
        # Sooner than the writer's interval.
        assert gateway.end() == 0
    database = sqlite3.connect(tmp_path / "gateway.sqlite3")
    rows = database.execute(
        "SELECT route, provider, surface, model, field, refused, count FROM routing_translationloss"
    ).fetchall()
    database.close()
    assert rows == [("sandbox", "sandbox", "messages", "sandbox", "top_k", 0, 1)]
