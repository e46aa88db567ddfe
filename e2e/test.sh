#!/usr/bin/env bash
# Runs tests, and tells at the end which were skipped and which took longest.
#
#   e2e/test.sh fast [FILTER...]   what needs no root: unit and integration tests
#   e2e/test.sh root [FILTER...]   unit and integration tests, all of them, as root
#   e2e/test.sh e2e [FILTER...]    the scenarios, on target/dist
#   e2e/test.sh soak [FILTER...]   faults at random, for as long as CORTEN_SOAK_MINUTES or CORTEN_SOAK_KILLS say
#   e2e/test.sh nri [FILTER...]    plugins of others on Corten and on containerd
#   e2e/test.sh cluster [FILTER...] those of a whole cluster
#   e2e/test.sh cluster-part        most of them, where a cluster's programs are built: building them takes longer than all tests
#   e2e/test.sh suites-part         three minutes of Kubernetes' own suite for nodes, where that is built too
#
# A filter is a part of a test's name, or the name of its program (`restart` for e2e/tests/restart.rs).
# CORTEN_REQUIRE=root,tools (fast: nothing, else: root) makes a failure of every test that is skipped for want of one of these (see src/need).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

part=${1:-}
shift || true
export PATH="$PWD/.cache/nextest/bin:$PATH"
expression=
# nextest refuses a program that is none.
is_program() { compgen -G "e2e/tests/$1*" || compgen -G "src/*/tests/$1*" || compgen -G "src/$1" || compgen -G "$1/Cargo.toml"; } >/dev/null
for filter in "$@"; do
    expression+="${expression:+ | }test($filter)"
    ! is_program "$filter" || expression+=" | binary($filter)"
done
packages=(--workspace --exclude e2e --exclude pause)
profile=default
case $part in
fast) export CORTEN_WITHOUT=root ;;
root)
    export CORTEN_REQUIRE=${CORTEN_REQUIRE-root}
    # The pause can be tested only as it is built for use.
    [ ! -x target/dist/corten-pause ] || export CORTEN_TEST_PAUSE=$PWD/target/dist/corten-pause
    ;;
e2e | soak | nri | cluster | cluster-part | suites-part)
    export CORTEN_REQUIRE=${CORTEN_REQUIRE-root}
    packages=(-p e2e)
    profile=$part
    # Long enough for whoever asks for hours.
    [ "$part" != soak ] || TEST_TIMEOUT=${TEST_TIMEOUT:-86400}
    ;;
*)
    sed -n '4,11s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
programs=(etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubectl kubelet coredns agnhost)
case $part in
cluster-part) programs+=(metrics-server helm) what="no cluster is tried" make=cluster-test ;;
suites-part) programs+=(e2e.test e2e-ginkgo) what="nothing of Kubernetes' own suites is run" make=node-e2e ;;
*) programs=() ;;
esac
for program in "${programs[@]}"; do
    [ ! -x ".cache/tools/$program" ] || continue
    echo "test: $what, as $program is not built; once make $make has been run, it is"
    exit 0
done
if [ "$part" = suites-part ]; then
    e2e/setup.sh suites
    cargo build --quiet --locked -p e2e --bin suites --bin nnp
    exec timeout -k 30 600 target/debug/suites node-e2e --brief --limit 400
fi
cargo nextest --version >/dev/null 2>&1 || { echo "test: run e2e/setup.sh test first: there is no cargo-nextest" >&2; exit 2; }

report=target/nextest/$profile/tests.xml
skips=$PWD/target/nextest/skips
mkdir -p target/nextest
rm -f "$skips" "$report"
status=0
CORTEN_SKIPS=$skips timeout -k 30 "${TEST_TIMEOUT:-3000}" \
    cargo nextest run --locked --profile "$profile" "${packages[@]}" ${expression:+-E "$expression"} || status=$?

if [ -e "$report" ]; then
    echo "test: the ten that took longest, in seconds:"
    sed -n 's/.*<testcase name="\([^"]*\)" classname="\([^"]*\)".* time="\([0-9.]*\)".*/\3 \2 \1/p' "$report" |
        sort -rn | awk 'NR <= 10 { printf "  %7.2f  %s %s\n", $1, $2, $3 }'
fi
if [ -s "$skips" ]; then
    sort -u "$skips" -o "$skips"
    echo "test: skipped $(cut -f2 "$skips" | sort -u | wc -l):"
    # By what they need, with the reason once where several have it; those that were left out on purpose by number.
    awk -F '\t' -v without="${CORTEN_WITHOUT:-}" '
        $1 == without { left++; next }
        { key = $1 "\t" $3; if (!(key in tests)) order[++count] = key; tests[key] = tests[key] "\n      " $2 }
        END {
            if (left) printf "  %s: %d tests, for make test-%s\n", without, left, without
            for (i = 1; i <= count; i++) { split(order[i], part, "\t"); printf "  %s: %s%s\n", part[1], part[2], tests[order[i]] }
        }
    ' "$skips"
else
    echo "test: skipped none"
fi
# What is read of a long run is its end.
if [ -e "$report" ] && grep -q "<failure " "$report"; then
    echo "test: failed, with the first lines of why:"
    awk '
        /<testcase / {
            match($0, / name="[^"]*"/); name = substr($0, RSTART + 7, RLENGTH - 8)
            match($0, / classname="[^"]*"/); class = substr($0, RSTART + 12, RLENGTH - 13)
        }
        /<failure / { is_in = 1; lines = 0; print "  " class " " name; sub(/.*<failure [^>]*>/, "") }
        is_in {
            is_last = sub(/<\/failure>.*/, "")
            if (/^stack backtrace:/) lines = 12
            gsub(/&lt;/, "<"); gsub(/&gt;/, ">"); gsub(/&quot;/, "\""); gsub(/&apos;/, "\047"); gsub(/&amp;/, "\\&")
            if ($0 != "" && lines++ < 12) print "      " substr($0, 1, 400)
            if (is_last) is_in = 0
        }
    ' "$report"
fi
exit "$status"
