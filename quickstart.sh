#!/usr/bin/env bash
# Brings up a whole exchange on this machine and shows the webhooks that come out of it: gateway, AS2
# server stand-in, webhook endpoint, and one signed and encrypted message from ACME to MY-OWN-ORG. With AS2HOOK=FILE it
# takes that gateway instead of building one.
set -euo pipefail
cd "$(dirname "$0")"
# Where rustup puts it; a shell older than the installation does not know.
export PATH="$PATH:${HOME:-/root}/.cargo/bin"
.ci/setup --build
target="${CARGO_TARGET_DIR:-target}"
if [ -n "${AS2HOOK:-}" ]; then
  [ -e "$target/debug/examples/quickstart" ] || echo "Building what stands around the gateway: about a minute on 2 cores."
  cargo build --locked --package as2hook-testing --example quickstart
  CARGO_BIN_EXE_as2hook="$(realpath "$AS2HOOK")" exec "$target/debug/examples/quickstart"
fi
[ -e "$target/debug/as2hook" ] ||
  echo "Building as2hook, the first time mostly what it is built from: about 5 minutes on 2 cores, fewer on more."
# The whole workspace's features, so that ./test.sh compiles nothing of it again.
cargo build --locked --workspace --bin as2hook --example quickstart
exec "$target/debug/examples/quickstart"
