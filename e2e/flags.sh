# Sourced by what builds programs as they are installed: RUSTFLAGS and CFLAGS under which no path of this machine gets into
# them, so that the same source makes the same bytes in every directory; and what nobody calls is left out.

# maps OLD NEW: what begins with OLD in a message or a table of a program is NEW there.
maps=()
map() {
    maps+=("--remap-path-prefix=$1=$2")
    CFLAGS="${CFLAGS:+$CFLAGS }-ffile-prefix-map=$1=$2"
}

cargo fetch --quiet --locked
map "$PWD" corten
# Of several that match, the last one holds.
for registry in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do map "$registry" crates; done
map "$(rustc --print sysroot)/lib/rustlib/src/rust" "/rustc/$(rustc -vV | sed -n 's/^commit-hash: //p')"
# Of zstd's ways to compress, one is called: the fastest, for what an unpacked layer looks like.
for way in DFAST GREEDY LAZY LAZY2 BTLAZY2 BTOPT BTULTRA; do CFLAGS="$CFLAGS -DZSTD_EXCLUDE_${way}_BLOCK_COMPRESSOR"; done
export RUSTFLAGS="${maps[*]}" CFLAGS
unset maps
