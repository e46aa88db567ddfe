#!/usr/bin/env bash
# Builds tests here and runs them in the virtual machine, which is too slow to build anything.
#
#   e2e/test-vm.sh unit|e2e|systemd|nri [OPTION OF THE TEST PROGRAMS...]   (systemd: its driver, with it as process 1; nri: plugins
#                                                                          of others, as memory_qos, which wants cgroup v2)
#   e2e/test-vm.sh critest [OPTION OF critest...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

init=()
case ${1:-} in
unit) selected=(--workspace --exclude e2e --exclude pause) ;;
e2e) selected=(-p e2e) ;;
systemd) selected=(-p e2e --test systemd) init=(--systemd) ;;
nri) selected=(-p e2e --test nri_plugins) ;;
critest)
    shift
    images=$PWD/target/vm/critest-images
    cargo build --quiet --locked -p e2e --bin critest --bin nnp
    rm -rf "$images"
    target/debug/critest --prepare "$images"
    # The host is ten times slower than this one; what it has to wait for does not become less.
    exec e2e/vm run -t "${VM_SECONDS:-3600}" env RUNTIME="${RUNTIME:-corten}" OCI_RUNTIME="${OCI_RUNTIME:-}" \
        target/debug/critest --images "$images" --data /data --output "$PWD/target/vm/critest" --service-timeout 1200 --limit 3300 --parallel 2 "$@"
    ;;
*) echo "test-vm: unknown part: ${1:-none} (unit, e2e, systemd, nri, critest)" >&2; exit 2 ;;
esac
part=$1
shift
list=target/vm/$part.list
mkdir -p target/vm
# Each line is a message of cargo's; those of tests have an executable, and run where their package lies.
cargo test --locked --no-run --message-format=json-render-diagnostics "${selected[@]}" |
    sed -n '/"profile":{[^}]*"test":true}/s/.*"manifest_path":"\([^"]*\)\/Cargo.toml".*"executable":"\([^"]*\)".*/\1\t\2/p' | sort >"$list"
[ -s "$list" ] || { echo "test-vm: there are no tests to run" >&2; exit 1; }
export CORTEN_TEST_PAUSE=$PWD/target/dist/corten-pause
exec e2e/vm run "${init[@]}" -t "${VM_SECONDS:-3600}" env CORTEN_TEST_PAUSE="$CORTEN_TEST_PAUSE" \
    CORTEN_WITHOUT_UPSTREAM="the virtual machine has no network" \
    e2e/guest/tests "$PWD/$list" --test-threads=1 "$@"
