#!/bin/sh
# What the server is made of, and what is known against it.
# Usage: scripts/audit.sh audit|sbom [FILE]
# The tools have an environment of their own: they read the pins, and what they bring is never imported by the server,
# its tests or its checks.
set -eu
cd "$(dirname "$0")/.."

kind=${1:?"say audit or sbom"}
venv=.venv/audit
stamp=$venv/.pins
if ! [ -f "$stamp" ] || ! cmp -s requirements-audit.txt "$stamp"; then
    .venv/bin/python -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes \
        -r requirements-audit.txt
    cp requirements-audit.txt "$stamp"
fi

case $kind in
sbom)
    file=${2:-sbom.json}
    "$venv/bin/cyclonedx-py" requirements requirements.txt --output-reproducible --of JSON --output-file "$file"
    echo "==> $file lists what requirements.txt pins, as CycloneDX" >&2
    ;;
audit)
    # --strict: a package that could not be looked up is a failure. Without it, a service that does not answer
    # leaves every package unchecked and the whole a success.
    "$venv/bin/pip-audit" --strict --progress-spinner off --disable-pip --require-hashes \
        --vulnerability-service "${AUDIT_SERVICE:-pypi}" -r requirements.txt || {
        printf '\nerror: the audit found something, or could not look everything up; its words are above.\n' >&2
        printf 'Where it says "not found" or "could not be audited", nothing was checked: PyPI'"'"'s JSON service\n' >&2
        printf 'or, with AUDIT_SERVICE=osv, api.osv.dev must be reachable from here.\n' >&2
        exit 1
    }
    echo "==> nothing is known against what requirements.txt pins" >&2
    ;;
*)
    echo "scripts/audit.sh: say audit or sbom, not '$kind'" >&2
    exit 2
    ;;
esac
