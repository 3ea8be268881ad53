#!/bin/sh
# Makes sure that a Chromium is there for the tests that look at pages; they skip, loudly, where it cannot be had.
# The tests look for it as CHROMIUM, or by its usual names on the PATH.
set -eu

found() {
    for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        if [ -n "$name" ] && command -v "$name" >/dev/null 2>&1; then return 0; fi
    done
    return 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

if found; then exit 0; fi
if command -v apt-get >/dev/null 2>&1 && as_root true >/dev/null 2>&1; then
    echo "==> installing Chromium for the page tests" >&2
    as_root apt-get update -qq >&2 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        chromium fonts-dejavu-core >&2 || true
    if found; then exit 0; fi
fi
echo "!!! No Chromium was found and none could be installed: THE PAGE TESTS WILL BE SKIPPED." >&2
echo "!!! Install one, or name it: CHROMIUM=/path/to/chromium make test" >&2
