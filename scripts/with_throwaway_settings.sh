#!/bin/sh
# Runs a command in the given environment with made-up secrets and a data folder that is removed at the end,
# so that a check can never touch, or depend on, the gateway's own data or this shell's settings.
# Usage: scripts/with_throwaway_settings.sh development|production COMMAND...
set -eu
environment=$1
shift

for name in $(env | sed -nE 's/^((LLM_GATEWAY|OTEL)_[A-Z0-9_]*)=.*/\1/p'); do unset "$name"; done
unset OPENAI_API_KEY ANTHROPIC_API_KEY

data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT INT TERM
LLM_GATEWAY_ENVIRONMENT=$environment
LLM_GATEWAY_DATA_DIR=$data
LLM_GATEWAY_SECRET_KEY=$(od -An -N48 -tx1 /dev/urandom | tr -d ' \n')
export LLM_GATEWAY_ENVIRONMENT LLM_GATEWAY_DATA_DIR LLM_GATEWAY_SECRET_KEY
"$@"
