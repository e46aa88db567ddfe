#!/usr/bin/env bash
# The other architecture, without a machine of it: the static supervisor and pause are built, and the unit tests of crates that
# ask nothing of a kernel run under qemu's emulation of processes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=aarch64-unknown-linux-musl
[ "$(uname -m)" != aarch64 ] || { echo "aarch64: this machine is one: make test does it all"; exit 0; }
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || { echo "aarch64: no $target to be had" >&2; exit 2; }
# The target brings a C library of its own; a compiler of C links with it.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=aarch64-linux-gnu-gcc
export CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc AR_aarch64_unknown_linux_musl=aarch64-linux-gnu-ar
# Tests that want root want a kernel.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER="setpriv --reuid=65534 --regid=65534 --clear-groups qemu-aarch64-static"
# What the emulator does not know: openat2(2), mount_setattr(2), seccomp(2).
without=(copy_up:: a_dev_of_the_host_is_left_alone the_kernel_enforces_it a_tree_is_labelled mounts_replace_defaults)
skip=()
for test in "${without[@]}"; do skip+=(--skip "$test"); done

RUSTFLAGS="-C relocation-model=static -C target-feature=+crt-static" \
    cargo build --quiet --locked --profile shim --target "$target" -p shim -p pause
for program in corten-shim corten-pause; do
    # ELF, 64 bits, machine 183.
    head=$(od -An -tx1 -N20 "target/$target/shim/$program" | tr -d ' \n')
    case $head in 7f454c4602*b700) ;; *) echo "aarch64: $program is for another machine" >&2; exit 1 ;; esac
    printf 'aarch64: %-12s %8d bytes, static\n' "$program" "$(stat -c %s "target/$target/shim/$program")"
done

crates=(cli failpoint model oci wire launch)
packages=()
for crate in "${crates[@]}"; do packages+=(-p "$crate"); done
log=target/aarch64.log
status=0
cargo test --locked --target "$target" "${packages[@]}" --lib --no-fail-fast -- "${skip[@]}" >"$log" 2>&1 || status=$?
grep -E '^(test .* FAILED|error|---- )' "$log" || true
left=$(awk '/^test result:/ { left += $12 } END { print left }' "$log")
passed=$(awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed", passed, failed }' "$log")
echo "aarch64: unit tests of ${crates[*]}: $passed, $left left out"
[ "$status" = 0 ] || { echo "aarch64: see $log" >&2; exit "$status"; }
