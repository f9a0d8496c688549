#!/usr/bin/env bash
# Measures, each by one command that ends by itself within minutes, `cluster` within forty:
#   ./measure.sh [wait] [delivery] [passing] [attack] [--short] [--judge]   the bars for latency and speed
#   ./measure.sh exchange [--against BINARY] [--postgres] [--rounds N] [--short]   what an exchange costs, and of two builds
#   ./measure.sh builds --against BINARY [--rounds N] [--short]    deliveries alone and the decoder alone, of two builds
#   ./measure.sh memory [--exchanges N]                            whether memory grows with a million exchanges
#   ./measure.sh viewers [--short]                                 what ten viewers of the console add to an exchange
#   ./measure.sh soak [--short | EXCHANGES]                        whether anything grows
#   ./measure.sh crash [KILLS]                                     whether anything is lost
#   ./measure.sh cluster [--minutes N] [sqlite]                    the same of three gateways on PostgreSQL, or one on SQLite
# Builds the release first, whose link-time optimisation takes a while; MEASURE_PROFILE=dev takes the
# build of the tests, whose speed says nothing. nginx, whose latency is one of the bars, is a Debian
# package: apt-get install nginx-light
set -euo pipefail
cd "$(dirname "$0")"
# Where rustup puts it; a shell older than the installation does not know.
export PATH="$PATH:${HOME:-/root}/.cargo/bin"
.ci/setup
profile="${MEASURE_PROFILE:-release}"
built="${CARGO_TARGET_DIR:-target}/${profile/#dev/debug}"
build() {
  # As ./test.sh builds it, so that neither compiles again what the other has.
  [ "$profile" != dev ] || set -- --workspace "$@"
  cargo build --locked --profile "$profile" --bin as2hook "$@"
}
case "${1:-}" in
  crash)
    export AS2HOOK_KILLS="${2:-1000}"
    if cargo nextest --version >/dev/null 2>&1; then
      exec cargo nextest run --locked --workspace --test crash --run-ignored only --no-capture \
        -E 'binary_id(as2hook::crash)'
    fi
    exec cargo test --locked --test crash -- --ignored --nocapture
    ;;
  cluster)
    build --example cluster
    # Half an hour, unless the arguments say otherwise.
    options=("${@:2}")
    [[ " ${options[*]} " =~ " --"(minutes|seconds)[\ =] ]] || options+=(--minutes 30)
    exec "$built/examples/cluster" "${options[@]/#sqlite/--store=sqlite}"
    ;;
  soak)
    build --example soak
    exec "$built/examples/soak" "${@:2}"
    ;;
  builds)
    build --example measure
    cargo build --locked --profile "$profile" -p as2hook-delivery --example throughput
    cargo bench --locked --profile "$profile" -p as2hook-as2 --bench decode --no-run
    exec "$built/examples/measure" "$@"
    ;;
  *)
    build --example measure --example bare_proxy
    exec "$built/examples/measure" "$@"
    ;;
esac
