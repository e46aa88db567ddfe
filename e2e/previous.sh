#!/usr/bin/env bash
# Builds the release before this one into .cache/previous/dist, once: the other half of e2e/tests/upgrade.rs. The supervisor
# is as it is installed, the daemon as tests are built. src/wire/golden/releases.txt says which commit that is. A clone that has
# it not and cannot fetch it, as a shallow one, goes without, and says so: then only what is in this tree of that release
# is played (golden frames and records).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

store=.cache/previous
head=$(git rev-parse --quiet --verify HEAD 2>/dev/null || true)
read -r version commit _ < <(grep -v '^#' src/wire/golden/releases.txt | awk -v head="$head" '$2 != head' | tail -n 1) ||
    { echo "previous: nothing was released before this"; rm -rf "$store"; exit 0; }
[ "$(cat "$store/dist/commit" 2>/dev/null)" != "$commit" ] || exit 0
rm -rf "$store"
if ! git cat-file -e "$commit^{commit}" 2>/dev/null &&
    ! GIT_TERMINAL_PROMPT=0 timeout -k 5 60 git fetch --quiet --depth 1 origin "$commit" 2>/dev/null; then
    echo "previous: $version ($commit) is not in this clone and cannot be fetched; upgrades from it are not tried"
    exit 0
fi

echo "previous: building $version ($commit) (once; into $store)"
mkdir -p "$store/tree" "$store/new/cni"
git archive "$commit" | tar -x -C "$store/tree"
target=$(uname -m)-unknown-linux-musl
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || target=$(uname -m)-unknown-linux-gnu
# A directory of its own: cargo names what it compiles by its path within a workspace, so that in a shared one crates of that
# release would be linked into programs of this one.
export CARGO_TARGET_DIR=$PWD/$store/target
build() { cargo build --quiet --locked --manifest-path "$store/tree/Cargo.toml" "$@"; }
build -p corten -p corten-oci -p cni
RUSTFLAGS="-C relocation-model=static -C target-feature=+crt-static" \
    build --profile shim --target "$target" -p shim -p pause
install -m 755 "$CARGO_TARGET_DIR"/debug/{corten,corten-oci} "$CARGO_TARGET_DIR/$target/shim"/corten-{shim,pause} "$store/new/"
install -m 755 "$CARGO_TARGET_DIR"/debug/{bridge,host-local,portmap,loopback} "$store/new/cni/"
echo "$commit" >"$store/new/commit"
mv "$store/new" "$store/dist"
rm -rf "$store/tree" "$CARGO_TARGET_DIR"
