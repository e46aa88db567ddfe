#!/usr/bin/env bash
# Fuzzes every parser of bytes that strangers write, each for SECONDS (60): e2e/fuzz.sh [TARGET...]
#
# Each begins with the inputs of e2e/fuzz/seeds, and with what earlier runs on this machine came to.
# libFuzzer with the coverage that the pinned stable compiler offers; what it finds is kept in target/fuzz/found.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=${SECONDS_EACH:-60}
all=$(sed -n '/^\[\[bin\]\]/,/^$/s/^name = "\(.*\)"/\1/p' e2e/fuzz/Cargo.toml)
flags='--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares'
host=$(rustc -vV | sed -n 's/^host: //p')
# With a target named, build scripts and macros stay free of the instrumentation.
RUSTFLAGS=$(echo $flags) CARGO_TARGET_DIR=target/fuzz \
    cargo build --quiet --locked --release --target "$host" --manifest-path e2e/fuzz/Cargo.toml

failed=()
for target in ${*:-$all}; do
    corpus=target/fuzz/corpus/$target found=target/fuzz/found/$target
    mkdir -p "$corpus" "$found"
    echo "fuzz: $target for $seconds s"
    timeout -k 10 $((seconds + 60)) "target/fuzz/$host/release/$target" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=1024 -max_len=65536 -artifact_prefix="$found/" -print_final_stats=1 \
        "$corpus" "e2e/fuzz/seeds/$target" >"target/fuzz/$target.log" 2>&1 || failed+=("$target")
    grep -E 'number_of_executed_units|new_units_added|peak_rss|SUMMARY|panicked' "target/fuzz/$target.log" || true
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "fuzz: findings in: ${failed[*]} (target/fuzz/found, target/fuzz/TARGET.log)"
    exit 1
fi
echo "fuzz: no finding"
