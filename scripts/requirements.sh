#!/bin/sh
# Pins each requirements*.in, with hashes, for every supported Python at once.
# Words that follow go to uv, for example --upgrade. No machine's own index or configuration takes part.
set -eu
cd "$(dirname "$0")/.."
unset UV_INDEX UV_DEFAULT_INDEX UV_INDEX_URL UV_EXTRA_INDEX_URL UV_FIND_LINKS

for name in requirements requirements-dev requirements-audit scripts/clients/frameworks/requirements; do
    .venv/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make requirements" \
        "$@" --output-file "$name.txt" "$name.in"
done
