"""The code of the gRPC API is what its .proto files say."""

from __future__ import annotations

from pathlib import Path

from scripts.proto import GENERATED, generate


def test_the_generated_code_is_current(tmp_path: Path) -> None:
    generate(tmp_path)
    made = {
        each.relative_to(tmp_path): each.read_text() for each in tmp_path.rglob("*.py*") if each.is_file()
    }
    kept = {
        each.relative_to(GENERATED): each.read_text()
        for each in GENERATED.rglob("*.py*")
        if "__pycache__" not in each.parts
    }
    assert made == kept, "run `make proto`"
