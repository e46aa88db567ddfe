#!/usr/bin/env bash
# Puts what target/dist has where a node has it.
#
#   DESTDIR=/a/root PREFIX=/usr/local packaging/install.sh
#
# Files of configuration that are there already stay as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DESTDIR=${DESTDIR:-}
PREFIX=${PREFIX:-/usr/local}
dist=${DIST:-target/dist}
[ -x "$dist/corten" ] || { echo "install: $dist has no programs: run make build first" >&2; exit 1; }

# place MODE SOURCE TARGET: by renaming, so that a program that runs keeps its file, and nobody finds half a file.
place() {
    mkdir -p "$(dirname "$DESTDIR$3")"
    install -m "$1" "$2" "$DESTDIR$3.new"
    mv "$DESTDIR$3.new" "$DESTDIR$3"
}

# keep SOURCE TARGET: only where nothing is.
keep() {
    if [ -e "$DESTDIR$2" ]; then echo "install: $2 is there already and stays"; else place 644 "$1" "$2"; fi
}

for program in corten corten-oci corten-shim corten-pause; do place 755 "$dist/$program" "$PREFIX/bin/$program"; done
for plugin in "$dist"/cni/*; do place 755 "$plugin" "$PREFIX/libexec/corten/cni/${plugin##*/}"; done

unit=$(mktemp)
compressed=$(mktemp)
trap 'rm -f "$unit" "$compressed"' EXIT
sed "s,/usr/local/bin/,$PREFIX/bin/," config/corten.service >"$unit"
place 644 "$unit" "$PREFIX/lib/systemd/system/corten.service"
place 644 packaging/sysctl.conf "$PREFIX/lib/sysctl.d/60-corten.conf"
place 644 packaging/modules.conf "$PREFIX/lib/modules-load.d/corten.conf"

documents=$PREFIX/share/doc/corten
for document in README.md CHANGELOG.md LICENSE config/corten.toml config/hosts.toml config/10-corten.conflist docs/*.md; do
    place 644 "$document" "$documents/${document##*/}"
done
for document in "$dist"/THIRD-PARTY-LICENSES.txt "$dist"/corten.cdx.json; do
    [ ! -e "$document" ] || place 644 "$document" "$documents/${document##*/}"
done

# Only builds for use have them: e2e/build.sh.
for page in "$dist"/man/*.1; do
    [ -e "$page" ] || continue
    gzip -9nc "$page" >"$compressed"
    place 644 "$compressed" "$PREFIX/share/man/man1/${page##*/}.gz"
done
complete() { [ ! -e "$dist/completions/$1" ] || place 644 "$dist/completions/$1" "$PREFIX/share/$2"; }
complete bash bash-completion/completions/corten
complete fish fish/vendor_completions.d/corten.fish
complete zsh zsh/site-functions/_corten

mkdir -p "$DESTDIR/etc/corten/certs.d" "$DESTDIR/etc/corten/conf.d"
keep packaging/corten.toml /etc/corten/corten.toml
keep config/crictl.yaml /etc/crictl.yaml

[ -z "$DESTDIR" ] || exit 0
echo "install: done. Now:"
echo "  systemctl daemon-reload && sysctl --system >/dev/null && systemctl enable --now corten"
