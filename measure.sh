#!/usr/bin/env bash
# Measures, each by one command that ends by itself within minutes:
#   ./measure.sh [wait] [delivery] [passing] [--short] [--judge]   the bars for latency and speed
#   ./measure.sh soak [--short | EXCHANGES]                        whether anything grows
#   ./measure.sh crash [KILLS]                                     whether anything is lost
# Builds the release first, whose link-time optimisation takes a while. nginx, whose latency is one of
# the bars, is a Debian package: apt-get install nginx-light
set -euo pipefail
cd "$(dirname "$0")"
# Where rustup puts it; a shell older than the installation does not know.
export PATH="$PATH:${HOME:-/root}/.cargo/bin"
.ci/setup
built="${CARGO_TARGET_DIR:-target}/release/examples"
case "${1:-}" in
  crash)
    export AS2HOOK_KILLS="${2:-1000}"
    if cargo nextest --version >/dev/null 2>&1; then
      exec cargo nextest run --locked --test crash --run-ignored only --no-capture
    fi
    exec cargo test --locked --test crash -- --ignored --nocapture
    ;;
  soak)
    cargo build --locked --release --bin as2hook --example soak
    exec "$built/soak" "${@:2}"
    ;;
  *)
    cargo build --locked --release --bin as2hook --example measure --example bare_proxy
    exec "$built/measure" "$@"
    ;;
esac
