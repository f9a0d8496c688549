#!/usr/bin/env bash
# Builds the Debian package as2hook_<version>_<architecture>.deb and prints where it is. With AS2HOOK=FILE it packs that
# binary instead of building one, which takes long. Arguments go to `cargo deb`: ./package.sh --deb-version 0.1.0-2
set -euo pipefail
cd "$(dirname "$0")"
# Where rustup puts cargo; a shell older than the installation does not know.
target="$(realpath -m "${CARGO_TARGET_DIR:-target}")"
export PATH="$target/tools/bin:$PATH:${HOME:-/root}/.cargo/bin"
deb_version=3.8.0
# Where the metadata of Cargo.toml has them.
staging=target/package

.ci/setup --build
if ! cargo deb --version 2>/dev/null | grep -qF "$deb_version"; then
  # It runs for seconds, so compiling it fast matters more than what comes out.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_TARGET_DIR="$target/tools/build" \
    cargo install --quiet --locked --root "$target/tools" --version "$deb_version" cargo-deb
  rm -rf "$target/tools/build"
fi

if [ -z "${AS2HOOK:-}" ]; then
  cargo build --locked --release
  AS2HOOK="$target/release/as2hook"
fi

rm -rf "$staging"
mkdir -p "$staging"
install -m 0755 "$AS2HOOK" "$staging/as2hook"
# What a debugger needs is a third of a release build and most of another.
strip --strip-debug "$staging/as2hook"
"$staging/as2hook" man "$staging/man"
for shell in bash zsh fish; do
  "$staging/as2hook" completions "$shell" >"$staging/as2hook.$shell"
done
# The shipped config, but data lies in /var/lib/as2hook: the service may write nowhere else.
sed -e 's|conf/as2hook\.yaml|/etc/as2hook/as2hook.yaml|' -e 's|^store: "sqlite:data/|store: "sqlite:/var/lib/as2hook/|' \
  -e 's|^payloads: "data/|payloads: "/var/lib/as2hook/|' \
  -e 's|^secret_key_file: data/|secret_key_file: /var/lib/as2hook/|' conf/as2hook.yaml >"$staging/as2hook.yaml"
if grep -nE '^[^#]*\bdata/' "$staging/as2hook.yaml"; then
  echo "This line of conf/as2hook.yaml names a folder that the service may not write to; mend it in package.sh." >&2
  exit 1
fi

cargo deb --locked --no-build --no-strip "$@"
