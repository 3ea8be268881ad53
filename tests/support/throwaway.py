"""Gives the tests settings of their own, before Django reads any: loaded by `-p` in pyproject.toml.

A temporary data folder, a made-up master secret, and none of this shell's own settings or keys.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

for _name in list(os.environ):
    if _name.startswith(("LLM_GATEWAY_", "OTEL_")) or _name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        del os.environ[_name]

_folder = tempfile.mkdtemp(prefix="gateway-tests-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ["LLM_GATEWAY_DATA_DIR"] = _folder
os.environ["LLM_GATEWAY_SECRET_KEY"] = secrets.token_urlsafe(48)
# An empty file: whatever config.yaml is in the working directory is the user's, not the tests'.
os.environ["LLM_GATEWAY_CONFIG"] = os.devnull
# A process that has spoken gRPC starts servers by fork: its own handlers in the child have broken it there.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
