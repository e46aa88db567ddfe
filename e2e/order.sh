#!/usr/bin/env bash
# Finds what a daemon calls while it serves, for the order of its functions (e2e/order/serving.txt): after make build, as root,
# on x86_64. To be run when the idle daemon grows, or a build says that names are no more.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
symbols=$(find target/ship/deps -name 'corten-*.symbols' -printf '%T@ %p\n' | sort -rn | sed -n '1s/[^ ]* //p')
[ -n "$symbols" ] || { echo "order: make build comes first" >&2; exit 1; }
nm -S -t d --defined-only "$symbols" >"$work/names"
awk 'NF == 4 && $3 ~ /^[tTwW]$/ { print $1 + 0 }' "$work/names" | sort -nu >"$work/functions"
cc -O1 -Wall -shared -fPIC -o "$work/trace.so" e2e/order/trace.c
cargo build --quiet --locked -p e2e --bin bench
# Pods from their images to their ends, and what the kubelet asks meanwhile.
CORTEN_TRACE=$work LD_PRELOAD=$work/trace.so target/debug/bench stats --pods 20 >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
cat "$work"/called.* >"$work/called"
awk -f e2e/order/names.awk -f e2e/order/find.awk "$work/called" "$work/names" | LC_ALL=C sort -u >"$work/serving"
mv "$work/serving" e2e/order/serving.txt
# Cargo does not know what the linker reads.
touch src/corten/main.rs
echo "order: $(wc -l <"$work/called") of $(wc -l <"$work/functions") functions are called; make build orders them by it"
