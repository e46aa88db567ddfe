#!/usr/bin/env bash
# The linker of profile `ship`, called as rustc calls cc: lays the functions that a daemon calls while it serves together.
# They are half of its code; spread over all of it, some of them were in each 64 KiB that the kernel maps at a time, and so
# all of it was mapped.
set -euo pipefail
output='' before='' objects=() unstripped=()
for argument in "$@"; do
    case "$argument" in *.rcgu.o) objects+=("$argument") ;; esac
    [ "$before" != -o ] || output=$argument
    [ "$argument" = -Wl,--strip-all ] || unstripped+=("$argument")
    before=$argument
done
# Cargo links the daemon under this name and a hash.
case "${output##*/}" in corten-*) ;; *) exec cc "$@" ;; esac
here=$(dirname "${BASH_SOURCE[0]}")
# Nothing in it when the names are old, of which e2e/build.sh tells: what the linker says is not shown.
nm --defined-only "${objects[@]}" | awk -f "$here/names.awk" -f "$here/serving.awk" "$here/serving.txt" - >"$output.order" ||
    : >"$output.order"
order=("-Wl,--symbol-ordering-file=$output.order" -Wl,--no-warn-symbol-ordering)
# The same with its names, for e2e/order.sh and for who looks into a dump of memory.
cc "${unstripped[@]}" "${order[@]}" -o "$output.symbols"
exec cc "$@" "${order[@]}"
