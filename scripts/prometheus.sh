#!/bin/sh
# Makes sure that a Prometheus is there for the test that loads the alert rules and the board's expressions; it
# skips, loudly, where none can be had. The test looks on the PATH, and in .tools, where this puts Debian's package
# unpacked: nothing is installed, and no service starts.
set -eu
cd "$(dirname "$0")/.."

if command -v promtool >/dev/null 2>&1 && command -v prometheus >/dev/null 2>&1; then exit 0; fi
if [ -x .tools/usr/bin/promtool ]; then exit 0; fi

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

if command -v apt-get >/dev/null 2>&1 && command -v dpkg >/dev/null 2>&1; then
    echo "==> fetching Prometheus for the test of the alert rules" >&2
    mkdir -p .tools
    (
        cd .tools
        apt-get download -qq prometheus >/dev/null 2>&1 ||
            { as_root apt-get update -qq && apt-get download -qq prometheus; } >/dev/null 2>&1 || exit 0
        for package in prometheus_*.deb; do dpkg -x "$package" . && rm "$package"; done
    )
    if [ -x .tools/usr/bin/promtool ]; then exit 0; fi
fi
echo "!!! No Prometheus was found and none could be fetched: THE TEST OF THE ALERT RULES WILL BE SKIPPED." >&2
