#!/usr/bin/env bash
# Which lines of the engine its tests without root run: a line a file, and their sum.
#
#   e2e/coverage.sh                 the table
#   e2e/coverage.sh src/engine/X.rs the lines of that file that no test runs
#
# Only the engine is compiled anew: all else is as `cargo test` has built it. Lines of tests do not count, in files of
# their own or below `#[cfg(test)]`. A test that measures time is left out: counting takes some.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

wanted=${1:-}
work=$PWD/target/coverage
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

# As rustup has them, else as Debian has them.
tool() {
    local own
    own=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/$1
    for candidate in "$own" "/usr/lib/llvm-$llvm/bin/$1"; do
        [ ! -x "$candidate" ] || { echo "$candidate"; return; }
    done
    echo "coverage: run e2e/setup.sh coverage first: there is no $1 of LLVM $llvm" >&2
    exit 2
}
profdata=$(tool llvm-profdata)
cov=$(tool llvm-cov)

rm -rf "$work"
mkdir -p "$work"
cat >"$work/rustc" <<'WRAPPER'
#!/bin/sh
case " $* " in
*" --crate-name engine "*) exec "$@" -C instrument-coverage ;;
*) exec "$@" ;;
esac
WRAPPER
chmod 755 "$work/rustc"

export RUSTC_WORKSPACE_WRAPPER=$work/rustc CARGO_INCREMENTAL=0 CORTEN_WITHOUT=root
program=$(cargo test --quiet --locked -p engine --lib --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/engine-[^"]*\)".*/\1/p' | tail -n 1)
LLVM_PROFILE_FILE=$work/%p-%m.profraw timeout -k 10 "${TEST_TIMEOUT:-900}" \
    "$program" --quiet --skip a_list_of_stats_takes_as_long_as_there_are_pods
"$profdata" merge --sparse -o "$work/profile" "$work"/*.profraw
"$cov" export --format=lcov --instr-profile "$work/profile" "$program" src/engine >"$work/lcov" 2>/dev/null

awk -v root="$PWD/" -v wanted="$wanted" '
    /^SF:/ {
        path = substr($0, 4)
        sub("^" root, "", path)
        counts = path ~ /^src\/engine\// && path !~ /\/(tests|fake)(\/|\.rs$)/
        limit = 0
        if (counts) {
            number = 0
            while ((getline line < path) > 0) {
                number++
                if (line == "#[cfg(test)]") at = number
                if (line ~ /^(pub(\(crate\))? )?mod [a-z_]+ \{$/ && at && number - at < 4) { limit = at; break }
            }
            at = 0
            close(path)
        }
        next
    }
    counts && /^DA:/ {
        split(substr($0, 4), part, ",")
        if (limit && part[1] + 0 >= limit) next
        lines[path]++
        if (part[2] + 0 > 0) run[path]++
        else if (path == wanted) missed[++many] = part[1] + 0
    }
    END {
        if (wanted != "") {
            for (i = 1; i <= many; i++) needed[missed[i]]
            number = 0
            while ((getline line < wanted) > 0) if (++number in needed) printf "%5d  %s\n", number, line
            exit
        }
        for (path in lines) {
            printf "%6.1f %%  %4d of %4d  %s\n", 100 * run[path] / lines[path], run[path], lines[path], path | "sort -n"
            all += lines[path]
            ran += run[path]
        }
        close("sort -n")
        printf "%6.1f %%  %d of %d lines of src/engine\n", 100 * ran / all, ran, all
    }
' "$work/lcov"
