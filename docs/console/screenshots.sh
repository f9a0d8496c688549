#!/usr/bin/env bash
# Makes the screenshots of docs/console.md anew, from a gateway that a test fills.
set -euo pipefail
cd "$(dirname "$0")/../.."
.ci/setup pngquant
AS2HOOK_SCREENSHOTS=$PWD/docs/console tests/browser/run browser::screenshots::screenshots_of
# To 256 colours: nothing of it is seen, and two thirds of the bytes are saved.
pngquant --force --skip-if-larger --strip --ext .png 256 docs/console/*.png
