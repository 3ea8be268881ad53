"""The master secret is rotated: nothing stops working while the old one stands beside, and credentials no
longer need it after one command."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.support.served import Served

OLD = "the-old-master-secret-0123456789-abcdef"
NEW = "the-new-master-secret-0123456789-abcdef"


def served(folder: Path, secret: str, fallbacks: str = "") -> Served:
    return Served(
        folder,
        LLM_GATEWAY_SECRET_KEY=secret,
        LLM_GATEWAY_SECRET_KEY_FALLBACKS=fallbacks,
        GROQ_API_KEY="gsk-canary-0123456789abcdef",
    )


def models(gateway: Served, key: str) -> int:
    return httpx.get(gateway.url + "/v1/models", headers={"x-api-key": key}, timeout=20).status_code


@pytest.mark.timeout(180)
def test_s27_a_rotation_from_one_end_to_the_other(tmp_path: Path) -> None:
    with served(tmp_path, OLD) as before:
        before.manage("providers", "add", "groq")
        first = before.manage("keys", "issue", "--team", "crew").strip()
        assert before.end() == 0
    with served(tmp_path, NEW, OLD) as between:
        assert models(between, first) == 200
        second = between.manage("keys", "issue", "--team", "crew").strip()
        assert "1 sealed anew" in between.manage("providers", "rotate-secrets")
        assert between.end() == 0
    with served(tmp_path, NEW) as after:
        assert models(after, second) == 200
        assert models(after, first) == 401
        # It opens every credential, or it would complain.
        assert "0 sealed anew" in after.manage("providers", "rotate-secrets")
        assert after.end() == 0
