#!/usr/bin/env bash
# Builds Corten with failpoints (src/failpoint) into target/failpoints, for the kill matrix (e2e/tests/kill) alone: the
# daemon as the tests are built, the supervisor as it is built for use.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(uname -m)-unknown-linux-musl
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || target=$(uname -m)-unknown-linux-gnu
cargo build --quiet --locked -p corten --features corten/failpoints
RUSTFLAGS="-C relocation-model=static -C target-feature=+crt-static" \
    cargo build --quiet --locked --profile shim --target "$target" -p shim -p pause --features shim/failpoints

dist=target/failpoints
mkdir -p "$dist"
for program in "target/debug/corten" "target/$target/shim/corten-shim" "target/$target/shim/corten-pause"; do
    # By renaming, so that a program that runs is not written over.
    install -m 755 "$program" "$dist/$(basename "$program").new"
    mv "$dist/$(basename "$program").new" "$dist/$(basename "$program")"
done
echo "failpoints: installed into $dist"
