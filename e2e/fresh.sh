#!/usr/bin/env bash
# Proves that the two commands need nothing but Debian 12, make, git, Rust and Go: a fresh root with only the toolchains
# of this machine bound into it, a clean clone, and the commands given (default: make run, then make test).
#
#   e2e/fresh.sh [--root DIR] [COMMAND...]
#
# The root is made in a temporary directory and removed at the end, unless --root names one to make and keep.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
root=
if [ "${1:-}" = --root ]; then root=$2; shift 2; fi
[ $# -gt 0 ] || set -- "make run" "make test"
command -v mmdebstrap >/dev/null || apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null

made=
if [ -z "$root" ]; then made=$(mktemp -d /var/tmp/corten-fresh.XXXXXX); root=$made/root; fi
trap '[ -z "$made" ] || rm -rf --one-file-system "$made"' EXIT
if [ ! -d "$root/usr" ]; then
    echo "fresh: making a Debian 12 root in $root"
    mmdebstrap --quiet --variant=apt --include=ca-certificates,make,git,mount bookworm "$root"
fi
rm -rf "$root/src" && git clone --quiet "file://$source" "$root/src"

cargo_home=${CARGO_HOME:-$HOME/.cargo} rustup_home=${RUSTUP_HOME:-$HOME/.rustup} go_root=$(go env GOROOT)
export cargo_home rustup_home go_root root
# The mounts live in a namespace of their own and end with it.
unshare --mount --propagation private -- bash -euo pipefail -c '
    # A root that is a mount of its own, as every system has: pivot_root(2) refuses any other.
    mount --bind "$root" "$root"
    bind() { mkdir -p "$root$1"; mount --rbind "$1" "$root$1"; }
    for path in /proc /sys /dev "$rustup_home" "$go_root"; do bind "$path"; done
    mkdir -p "$root/toolchain" "$root/run" && mount -t tmpfs tmpfs "$root/run"
    # Cargo itself, not what it has downloaded or installed.
    mkdir -p "$root$cargo_home/bin"
    for program in cargo rustc rustup rustfmt cargo-fmt cargo-clippy clippy-driver rustdoc; do
        cp -a "$cargo_home/bin/$program" "$root$cargo_home/bin/"
    done
    # How this machine reaches the network is the machine'"'"'s matter: names, certificates, package sources.
    for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$file" ] || cp -L "$file" "$root$file"
    done
    # As a system has it, and no chroot: who enters a mount namespace lands at its real root.
    mkdir -p "$root/old-root" && cd "$root"
    pivot_root . old-root && cd / && umount --lazy /old-root
    for command in "$@"; do
        echo "fresh: $command"
        /usr/bin/env -i HOME="$HOME" TERM=dumb RUSTUP_HOME="$rustup_home" CARGO_HOME="$cargo_home" \
            GOTOOLCHAIN=local RUSTUP_AUTO_INSTALL=0 \
            PATH="$cargo_home/bin:$go_root/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" \
            bash -c "cd /src && $command"
    done
' bash "$@"
