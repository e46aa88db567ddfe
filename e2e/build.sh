#!/usr/bin/env bash
# Builds Corten as it is installed, into target/dist: the daemon, the runc-compatible command line, the static shim
# and pause, the CNI plugins.
#
#   e2e/build.sh                        as it is handed out: profile ship
#   e2e/build.sh --quick [PROGRAM...]   sooner on several cores, and larger; and these programs of e2e of the same dependencies
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(uname -m)-unknown-linux-musl
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    target=$(uname -m)-unknown-linux-gnu
    echo "build: no static musl target here; linking the shim and the pause with glibc"
fi
. e2e/flags.sh
# Which commit it is, for the metrics: nothing where there is none, as in two copies that are compared.
CORTEN_COMMIT=${CORTEN_COMMIT:-$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)}
export CORTEN_COMMIT
# In one call, so that what they depend on is compiled once; e2e/lint.sh holds it to the same features.
packages=(-p corten -p corten-oci -p cni)
profile=ship fold='' linker=()
if [ "${1:-}" = --quick ]; then profile=release && shift; fi
[ $# = 0 ] || packages+=(-p e2e)
programs=()
for program in corten corten-oci bridge host-local portmap loopback "$@"; do programs+=(--bin "$program"); done
# `corten version` tells it.
export CORTEN_PROFILE=$profile
# Where the linker is the one that comes with Rust, functions of the same code become one, and those that serve lie together.
if [ "$profile-$(rustc -vV | sed -n 's/^host: //p')" = ship-x86_64-unknown-linux-gnu ]; then
    fold="-C link-arg=-Wl,--icf=all"
    linker+=("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=$PWD/e2e/order/serving-cc.sh")
fi
env "${linker[@]}" RUSTFLAGS="$RUSTFLAGS $fold" cargo build --profile "$profile" --locked "${packages[@]}" "${programs[@]}"
# Fixed addresses: relocations would dominate the private memory of so small a program.
RUSTFLAGS="$RUSTFLAGS -C relocation-model=static -C target-feature=+crt-static" \
    cargo build --locked --profile shim --target "$target" -p shim -p pause

dist=target/dist
mkdir -p "$dist/cni"
for program in corten corten-oci; do install -m 755 "target/$profile/$program" "$dist/$program.new"; done
for program in corten-shim corten-pause; do
    install -m 755 "target/$target/shim/$program" "$dist/$program.new"
done
# By renaming, so that a program that runs is not written over.
for program in corten corten-oci corten-shim corten-pause; do mv "$dist/$program.new" "$dist/$program"; done
for plugin in bridge host-local portmap loopback; do
    install -m 755 "target/$profile/$plugin" "$dist/cni/$plugin.new"
    mv "$dist/cni/$plugin.new" "$dist/cni/$plugin"
done
# Man pages and completions, of the same definitions as the help; what writes them is installed nowhere.
if [ "$profile" = ship ]; then
    rm -rf "$dist/man" "$dist/completions"
    env -u RUSTFLAGS -u CFLAGS cargo run --quiet --locked -p man -- "$dist/man"
    mkdir "$dist/completions"
    for shell in bash fish zsh; do "$dist/corten" completion "$shell" >"$dist/completions/$shell"; done
fi
order=$(ls -t "target/$profile"/deps/corten-*.order 2>/dev/null | head -1 || true)
if [ -n "$fold" ] && [ ! -s "$order" ]; then
    echo "build: e2e/order/serving.txt has names that are no more, and the daemon takes more memory: make order finds them anew"
fi
echo "build: installed into $dist:"
(cd "$dist" && ls -l corten corten-oci corten-shim corten-pause cni/* | awk '{ printf "  %9d bytes  %s\n", $5, $NF }')

# What a test may have the programs do, nobody else may.
if grep -qaF CORTEN_FAILPOINTS "$dist"/corten{,-oci,-shim,-pause} "$dist"/cni/*; then
    echo "build: a program in $dist has failpoints" >&2
    exit 1
fi
# They are of this tree, and of no machine.
found=$(grep -rlaF -e "$PWD/" -e "${CARGO_HOME:-$HOME/.cargo}/" -e "$(rustc --print sysroot)/" "$dist" || true)
if [ -n "$found" ]; then
    echo "build: paths of this machine are in $(tr '\n' ' ' <<<"$found")" >&2
    exit 1
fi
