#!/usr/bin/env bash
# What the compiler's checks find: the daemon and its supervisor with AddressSanitizer, or the daemon with ThreadSanitizer, in
# scenarios; the code that reads and writes bytes, under Miri.
#
#   e2e/sanitize.sh [address] [thread] [miri]   some of them, the first and the last where none is named; SCENARIOS='binary(restart)'
#                                               for others than the usual
#
# Sanitizers are no part of a stable compiler's promises, so that it is told to be an unstable one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export PATH="$PWD/.cache/nextest/bin:$PATH"
host=$(rustc -vV | sed -n 's/^host: //p')
# Kills and recovery, streams, layers of strangers, faults at random; without what measures memory, or lets a supervisor make no call.
scenarios=${SCENARIOS:-'binary(restart) | binary(journal) | binary(update) | binary(crictl) | binary(streaming) - test(broken) | binary(unpack)
    | test(f9) | test(whatever_breaks_at_random) | test(leave_nothing_that_adds_up)'}

# build KIND PROGRAMS [FLAG...]: programs with a sanitizer, beside those that have none.
build() {
    local kind=$1 programs=$2 place=$PWD/target/sanitize/$1 name=__${1:0:1}san options program packages=()
    shift 2
    mkdir -p "$place/dist" "$place/reports"
    rm -f "$place"/reports/*
    # Nobody reads what the programs say. Of leaks little is seen: a daemon is killed as often as it ends.
    options="log_path=$place/reports/report:detect_leaks=0:die_after_fork=0"
    cc -x c -c -o "$place/options.o" - <<<"const char *${name}_default_options(void) { return \"$options\"; }"
    for program in $programs; do packages+=(--bin "$program"); done
    RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=$kind -Clink-arg=$place/options.o" \
        cargo build --quiet --locked "$@" --target "$host" --target-dir "$place" -p corten -p shim "${packages[@]}"
    cp -a target/dist/. "$place/dist/"
    for program in $programs; do
        install -m 755 "$place/$host/debug/$program" "$place/dist/$program.new"
        mv "$place/dist/$program.new" "$place/dist/$program"
        grep -qaF "${name}_init" "$place/dist/$program" || { echo "sanitize: $program has no sanitizer" >&2; exit 1; }
    done
}

# run KIND: the scenarios, and what was reported.
run() {
    local kind=$1 place=$PWD/target/sanitize/$1 status=0
    CORTEN_DIST=$place/dist timeout -k 30 3000 \
        cargo nextest run --locked --profile e2e -p e2e --test-threads 1 -E "$scenarios" || status=$?
    if compgen -G "$place/reports/*" >/dev/null; then
        echo "sanitize: $kind reports:"
        head -n 40 "$place"/reports/*
        status=1
    fi
    return "$status"
}

failed=()
for kind in ${*:-address miri}; do
    echo "sanitize: $kind"
    case $kind in
    address)
        build address 'corten corten-shim'
        run address || failed+=(address)
        ;;
    thread)
        # The supervisor has one thread. What the standard library does to keep threads apart has to be seen, too.
        build thread corten -Zbuild-std
        run thread || failed+=(thread)
        ;;
    miri)
        # Of what makes system calls Miri knows little; of random tests it plays a few rounds.
        export MIRIFLAGS=-Zmiri-disable-isolation
        { cargo +nightly miri test --quiet --locked -p wire &&
            cargo +nightly miri test --quiet --locked -p sys --lib -- \
                filter:: mount::overlay:: netlink::addr:: netlink::link:: netlink::message:: nft::element::; } || failed+=(miri)
        ;;
    *)
        sed -n '5,6s/^# *//p' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
    esac
done
[ ${#failed[@]} = 0 ] || { echo "sanitize: findings: ${failed[*]}"; exit 1; }
echo "sanitize: no finding"
