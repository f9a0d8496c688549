#!/usr/bin/env bash
# Calls every route of the running gateway by its own /openapi.json, with valid and with wrong input, and
# checks each response against it. Schemathesis comes from PyPI into a virtual environment under target/.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PATH:${HOME:-/root}/.cargo/bin"

# The version whose checks are named below.
version=4.32.5
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tool="$target/schemathesis/bin/schemathesis"
folder=$(mktemp -d)
gateway=

leave() {
  [ -z "$gateway" ] || kill "$gateway" 2>/dev/null || true
  rm -rf "$folder"
}
trap leave EXIT

if ! "$tool" --version 2>/dev/null | grep -qF "$version"; then
  python3 -m venv "$target/schemathesis"
  "$target/schemathesis/bin/pip" install --quiet "schemathesis==$version"
fi
cargo build --locked --quiet --bin as2hook

port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
admin=$(port)
token=a-token-for-schemathesis-alone
digest=$(printf %s "$token" | sha256sum | cut -d' ' -f1)
cat >"$folder/as2hook.yaml" <<YAML
listen:
  inbound: { address: "127.0.0.1:$(port)" }
  admin: { address: "127.0.0.1:$admin" }
receiver: { url: "http://127.0.0.1:9" }
partners:
  - { id: 123, as2_id: ACME }
api:
  tokens:
    - { name: schemathesis, sha256: "$digest", scopes: [read, write, admin] }
YAML
echo 'webhooks: []' >"$folder/webhooks.yaml"
"$target/debug/as2hook" run -c "$folder/as2hook.yaml" >"$folder/log" 2>&1 &
gateway=$!
ready() { curl --silent --fail --output /dev/null "http://127.0.0.1:$admin/readyz"; }
for _ in $(seq 1200); do ready && break; sleep 0.1; done
ready || { cat "$folder/log"; exit 1; }

# What a URL or a name may be is more than its schema says, so not all that fits the schema is taken; and
# bad tokens from one address are slowed, so that fewer examples are tried of each. Most texts are no part of a
# path, so that many names of webhooks are made in vain.
"$tool" --config-file tests/api/schemathesis.toml run "http://127.0.0.1:$admin/openapi.json" \
  --header "Authorization: Bearer $token" \
  --exclude-checks positive_data_acceptance --suppress-health-check filter_too_much \
  --phases examples,coverage,fuzzing \
  --max-examples 25 --request-timeout 120 --seed 7 --no-color
kill -0 "$gateway"
if grep -qF panicked "$folder/log"; then cat "$folder/log"; exit 1; fi
