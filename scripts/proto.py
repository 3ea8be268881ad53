"""Writes the code of the gRPC API from its .proto files, with the pinned compiler: `make proto`.

python -m scripts.proto [FOLDER]    # FOLDER: where to, instead of the checkout's own
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
SOURCES = _ROOT / "grpcapi" / "protos"
GENERATED = _ROOT / "grpcapi" / "generated"
# The compiler writes imports as if its output stood at the top.
_IMPORT, _OURS = "from llmgateway.v1 import", "from grpcapi.generated.llmgateway.v1 import"
_PACKAGE = '"""Written by `make proto`."""\n'


def generate(folder: Path) -> None:
    """Write all of it into `folder`. Raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    files = [str(each) for each in sorted(SOURCES.rglob("*.proto"))]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCES}", *outputs, *files]
    subprocess.run(command, check=True)
    for written in folder.rglob("*.py"):
        written.write_text(written.read_text().replace(_IMPORT, _OURS))
    for package in (folder, folder / "llmgateway", folder / "llmgateway" / "v1"):
        (package / "__init__.py").write_text(_PACKAGE)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else GENERATED)
