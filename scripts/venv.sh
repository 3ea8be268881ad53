#!/bin/sh
# Makes .venv and brings it to the pinned requirements; does nothing when it is there already.
# Usage: scripts/venv.sh run|dev
#   PYTHON=path  the interpreter to make it with (default: the first Python 3.11 to 3.13 that is found)
set -eu
cd "$(dirname "$0")/.."

kind=${1:?"say run or dev"}
case $kind in
run) files="requirements.txt" ;;
dev) files="requirements.txt requirements-dev.txt" ;;
*) echo "scripts/venv.sh: say run or dev, not '$kind'" >&2; exit 2 ;;
esac

venv=.venv
say() { printf '==> %s\n' "$*" >&2; }
die() { printf '\nerror: %s\n' "$*" >&2; exit 1; }

supported() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

interpreter() {
    if [ -n "${PYTHON:-}" ]; then
        supported "$PYTHON" || die "PYTHON=$PYTHON is not a Python of version 3.11 or newer."
        echo "$PYTHON"
        return
    fi
    for name in python3 python3.13 python3.12 python3.11 python; do
        if supported "$name"; then echo "$name"; return; fi
    done
    die "no Python of version 3.11 or newer was found. Install one, or name it: make PYTHON=/path/to/python3.12 ..."
}

# Debian and Ubuntu ship Python without venv's other half; root may have it installed at once.
ensure_venv_module() {
    "$1" -c 'import venv, ensurepip' >/dev/null 2>&1 && return
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        say "installing python$version-venv"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv"; } >&2
        "$1" -c 'import venv, ensurepip' >/dev/null 2>&1 && return
    fi
    die "$1 has no venv module. On Debian and Ubuntu: sudo apt-get install python$version-venv"
}

# The stamp says which pins the environment was brought to; without it, or with another, pip runs again.
stamp=$venv/.pins-$kind
# A test run installs all that a server needs, so it writes both stamps.
pins() { cat $1 | cksum; }

if [ -x $venv/bin/python ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(pins "$files")" ]; then
    exit 0
fi

if ! $venv/bin/python -m pip --version >/dev/null 2>&1 || ! supported $venv/bin/python; then
    python=$(interpreter)
    ensure_venv_module "$python"
    say "making $venv with $("$python" --version 2>&1)"
    "$python" -m venv --clear $venv
fi

say "installing the pinned packages ($files); the first time takes a minute or two"
set --
for file in $files; do set -- "$@" -r "$file"; done
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes "$@" \
    || die "the packages could not be installed; pip's own words are above."
pins requirements.txt >$venv/.pins-run
if [ "$kind" = dev ]; then pins "$files" >"$stamp"; fi
say "$venv is ready"
