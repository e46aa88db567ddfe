#!/usr/bin/env bash
# Runs every test that docs/reliability.md names, and prints its list with what came of each number.
#
#   e2e/faults.sh [NUMBER...]   some of them: F2 S16
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

list=docs/reliability.md
# NUMBER, FILE and TEST of each, a line.
named() {
    awk -F '|' -v wanted=" $* " '
        $2 ~ /^ [FSA][0-9]/ {
            number = $2; gsub(/[ ]/, "", number); sub(/,.*/, "", number)
            if (wanted != "  " && index(wanted, " " number " ") == 0) next
            parts = split($4, part, ";")
            for (i = 1; i <= parts; i++) {
                file = part[i]; sub(/^[^`]*`/, "", file); sub(/`.*/, "", file)
                rest = part[i]; sub(/^[^`]*`[^`]*`:/, "", rest)
                tests = split(rest, test, "`")
                for (j = 2; j <= tests; j += 2) print number, file, test[j]
            }
        }' "$list"
}

tests=$(mktemp)
trap 'rm -f "$tests"' EXIT
named "$@" >"$tests"
[ -s "$tests" ] || { echo "faults: $list names none of these: $*" >&2; exit 2; }
filter() { awk -v e2e="$1" '($2 ~ /^e2e/) == e2e { print $3 }' "$tests" | sort -u; }

status=0
mapfile -t units < <(filter 0)
mapfile -t scenarios < <(filter 1)
rm -f target/nextest/default/tests.xml target/nextest/e2e/tests.xml
[ ${#units[@]} = 0 ] || e2e/test.sh root "${units[@]}" || status=$?
[ ${#scenarios[@]} = 0 ] || e2e/test.sh e2e "${scenarios[@]}" || status=$?

printf '\n%-4s %-8s %s\n' '' outcome what
reports=(target/nextest/*/tests.xml)
awk -F '|' '$2 ~ /^ [FSA][0-9]/ { what = $3; gsub(/^ | $/, "", what); number = $2; gsub(/ /, "", number); sub(/,.*/, "", number); print number "\t" what }' "$list" |
    while IFS=$'\t' read -r number what; do
        mapfile -t own < <(awk -v number="$number" '$1 == number { print $3 }' "$tests")
        [ ${#own[@]} -gt 0 ] || continue
        outcome=pass
        for test in "${own[@]}"; do
            case $(awk -v RS='</testcase>|/>' -v test="$test" '
                (at = index($0, "<testcase")) > 0 {
                    # What begins a suite may stand before it.
                    own = substr($0, at); match(own, /name="[^"]*"/)
                    name = substr(own, RSTART + 6, RLENGTH - 7); sub(/.*::/, "", name)
                    if (name == test) { print (index(own, "<failure") || index(own, "<error")) ? "FAIL" : "pass"; exit }
                }' "${reports[@]}") in
            pass) ;;
            FAIL) outcome=FAIL ;;
            *) [ "$outcome" = FAIL ] || outcome="not run" ;;
            esac
            ! awk -F '\t' -v test="$test" '{ sub(/.*::/, "", $2) } $2 == test { found = 1 } END { exit !found }' target/nextest/skips 2>/dev/null ||
                outcome=skipped
        done
        printf '%-4s %-8s %s\n' "$number" "$outcome" "$what"
    done
exit "$status"
