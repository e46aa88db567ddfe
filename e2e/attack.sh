#!/usr/bin/env bash
# Runs every attack of e2e/tests/attack and prints a table of them; at the sizes that were reported with CORTEN_ATTACK_FULL=1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

output=$(mktemp)
trap 'rm -f "$output"' EXIT
status=0
cargo test --quiet --locked -p e2e --test attack --no-run
timeout -k 30 3000 cargo test --locked -p e2e --test attack -- --test-threads=1 "$@" 2>&1 | tee "$output" || status=$?
printf '\n%-12s %-70s %s\n' kind attack outcome
# libtest prints what a test printed before its outcome, which then stands on a line of its own.
awk '/^test [a-z_]+::/ { split($2, name, "::"); attack = name[2]; gsub("_", " ", attack); kind = name[1] }
     /^test .* \.\.\. (ok|FAILED|ignored)$/ || (kind && /^(ok|FAILED|ignored)$/) {
         printf "%-12s %-70s %s\n", kind, attack, ($NF == "ok" ? "repelled" : $NF); kind = "" }' "$output"
exit $status
