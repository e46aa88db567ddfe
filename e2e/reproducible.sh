#!/usr/bin/env bash
# Builds this tree in two directories, and compares every byte of what is installed: e2e/reproducible.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d /var/tmp/corten-reproducible.XXXXXX)
trap 'rm -rf "$work"' EXIT
# Of different lengths, and what is not committed is in both.
for copy in "$work/one" "$work/another/place"; do
    mkdir -p "$copy"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy" 2>/dev/null || true
    echo "reproducible: building in $copy"
    "$copy/e2e/build.sh" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
    (cd "$copy/target/dist" && find . -type f -exec sha256sum {} + | sort -k 2) >"$work/$(basename "$copy").sums"
    rm -rf "$copy"
done
if ! diff "$work/one.sums" "$work/place.sums"; then
    echo "reproducible: the builds differ"
    exit 1
fi
echo "reproducible: $(wc -l <"$work/one.sums") programs have the same bytes from both directories"
