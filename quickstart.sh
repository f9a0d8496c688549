#!/usr/bin/env bash
# Brings up a whole exchange on this machine and shows the webhooks that come out of it: gateway, AS2
# server stand-in, webhook endpoint, and one signed and encrypted message from ACME to MY-OWN-ORG.
set -euo pipefail
cd "$(dirname "$0")"
# Where rustup puts it; a shell older than the installation does not know.
export PATH="$PATH:${HOME:-/root}/.cargo/bin"
.ci/setup
echo "Building as2hook; the first time takes a few minutes, mostly for what it is built from."
# The whole workspace's features, so that ./test.sh compiles nothing of it again.
cargo build --locked --workspace --bin as2hook --example quickstart
exec "${CARGO_TARGET_DIR:-target}/debug/examples/quickstart"
