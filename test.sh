#!/usr/bin/env bash
# Runs every test of the workspace, the black-box ones against the built gateway included. Arguments go
# to the test runner, cargo-nextest: ./test.sh --test reload
set -euo pipefail
cd "$(dirname "$0")"
# Where rustup puts it; a shell older than the installation does not know.
export PATH="$PATH:${HOME:-/root}/.cargo/bin"
# Its promtool judges the metrics and the alerts.
.ci/setup prometheus
if cargo nextest --version >/dev/null 2>&1; then
  cargo nextest run --locked --workspace "$@"
else
  echo "cargo-nextest is not installed; cargo test runs the same tests, only less evenly."
  timeout --foreground 60m cargo test --locked --workspace --all-targets --no-fail-fast "$@"
fi
[ $# -gt 0 ] || cargo test --locked --workspace --doc
