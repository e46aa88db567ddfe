#!/usr/bin/env bash
# Changes the code in small ways, one at a time, and tells which changes no test without root notices.
#
#   e2e/mutants.sh              names and recovery of the engine, the pod's state machine, the wire
#   e2e/mutants.sh src/cri/decode src/model/signal.rs   the files below a path, or one file
#
# It works on a copy of the tree in target/mutants, with build products of its own, and asks the unit tests of the crate
# alone. What cannot be noticed, and why, stands in .cargo/mutants.toml. More than one of twenty unnoticed is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[ $# -gt 0 ] || set -- src/engine/names.rs src/engine/recover src/shim/pod.rs src/shim/pod src/wire
export PATH="$PWD/.cache/mutants/bin:$PWD/.cache/nextest/bin:$PATH"
cargo mutants --version >/dev/null 2>&1 || { echo "mutants: run e2e/setup.sh mutants first: there is no cargo-mutants" >&2; exit 2; }

declare -A files
for path in "$@"; do
    [ -e "$path" ] || { echo "mutants: there is no $path" >&2; exit 2; }
    crate=${path#src/}
    [ ! -d "$path" ] || path="${path%/}/**/*.rs"
    files[${crate%%/*}]+="--file $path "
done

tree=$PWD/target/mutants/tree
mkdir -p "$tree"
find "$tree" -mindepth 1 -maxdepth 1 ! -name target -exec rm -rf {} +
# What is as old as it was is not built again. What was deleted and not committed is listed, too, and is not there.
git ls-files -z --cached --others --exclude-standard | xargs -0 ls -d 2>/dev/null | tar -cf - -T - | tar -xf - -C "$tree"

export CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0 CORTEN_WITHOUT=root
status=0
set -f
for crate in "${!files[@]}"; do
    out=$PWD/target/mutants/$crate
    mkdir -p "$out"
    # It says itself which are unnoticed, and ends so; anything else is a failure of its own.
    of=--bins
    ! grep -qsE '^\[lib\]' "src/$crate/Cargo.toml" "$crate/Cargo.toml" || of=--lib
    (cd "$tree" && cargo mutants --in-place --package "$crate" ${files[$crate]} --cargo-arg="$of" --output "$out" --colors never) || {
        code=$?
        [ $code = 2 ] || [ $code = 3 ] || exit $code
    }
done
for crate in "${!files[@]}"; do
    of() { wc -l <"target/mutants/$crate/mutants.out/$1.txt"; }
    noticed=$(($(of caught) + $(of timeout))) missed=$(of missed)
    echo "mutants: $crate: $((noticed + missed)) compile, $noticed are noticed ($(of timeout) by never ending), $missed are not:"
    sed 's/^/  /' "target/mutants/$crate/mutants.out/missed.txt"
    [ $((missed * 20)) -le $((noticed + missed)) ] || status=1
done
exit $status
