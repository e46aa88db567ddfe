#!/usr/bin/env bash
# Makes what is handed out, of target/dist, in target/packages: a tarball, a .deb, a .rpm, the list of components, the
# licence texts, and checksums of them all. The same tree makes the same bytes.
#
#   packaging/dist.sh [deb|rpm|tar...]   all three without an argument
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# A second package of one version, as for a test of upgrades, says so.
revision=${REVISION:-1}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
machine=$(uname -m)
[ $# -gt 0 ] || set -- tar deb rpm

out=$PWD/target/packages
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
mkdir -p "$out"

export DIST=${DIST:-target/dist}
python3 packaging/inventory.py "$DIST"
# stage NAME PREFIX
stage() {
    DESTDIR=$work/$1 PREFIX=$2 packaging/install.sh >/dev/null
    # Written where there is none, and never a package's own: other runtimes' users have one.
    mkdir -p "$work/$1$2/share/corten"
    mv "$work/$1/etc/crictl.yaml" "$work/$1$2/share/corten/"
    find "$work/$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}
stage package /usr
stage local /usr/local

tarball() {
    local name=corten-$version-linux-$machine
    tar -C "$work/local" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -cf "$work/$name.tar" .
    gzip -9n "$work/$name.tar"
    mv "$work/$name.tar.gz" "$out/"
}

# The newest version of the C library that a program asks for.
glibc() { grep -aoh 'GLIBC_2\.[0-9]*' "$work/package/usr/bin/corten" | sed s/GLIBC_// | sort -uV | tail -1; }

deb() {
    local root=$work/deb architecture
    architecture=$(dpkg --print-architecture)
    cp -a "$work/package" "$root"
    mkdir "$root/DEBIAN"
    # Debian wants the licence by this name.
    cp -p "$root/usr/share/doc/corten/LICENSE" "$root/usr/share/doc/corten/copyright"
    sed -e "s/@VERSION@/$version-$revision/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@GLIBC@/$(glibc)/" \
        -e "s/@SIZE@/$(du -sk --apparent-size --exclude DEBIAN "$root" | cut -f1)/" packaging/deb/control >"$root/DEBIAN/control"
    echo /etc/corten/corten.toml >"$root/DEBIAN/conffiles"
    install -m 755 packaging/deb/{postinst,prerm,postrm} "$root/DEBIAN/"
    (cd "$root" && find usr etc -type f -exec md5sum {} + | sort -k 2 >DEBIAN/md5sums)
    dpkg-deb --root-owner-group -Zxz --build "$root" "$out/corten_$version-${revision}_$architecture.deb" >/dev/null
}

rpm() {
    command -v rpmbuild >/dev/null || { echo "dist: no rpmbuild here (Debian's package rpm): no .rpm" >&2; return 0; }
    rpmbuild -bb --quiet --define "_topdir $work/rpm" --define "_rpmdir $out" --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
        --define "source $work/package" --define "version $version" --define "revision $revision" --define "glibc $(glibc)" \
        --define "_buildhost corten" --define "use_source_date_epoch_as_buildtime 1" --define "_binary_payload w6.zstdio" \
        --define "clamp_mtime_to_source_date_epoch 1" --target "$machine" packaging/corten.spec
}

for kind in "$@"; do
    case $kind in
        tar) tarball ;;
        deb) deb ;;
        rpm) rpm ;;
        *) echo "dist: $kind is none of tar, deb, rpm" >&2; exit 2 ;;
    esac
done
cp -p "$DIST/corten.cdx.json" "$out/corten-$version.cdx.json"
cp -p "$DIST/THIRD-PARTY-LICENSES.txt" "$out/"
(cd "$out" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%P\n' | sort | xargs sha256sum >SHA256SUMS)
echo "dist: in target/packages:"
(cd "$out" && ls -l | awk 'NR > 1 { printf "  %9d bytes  %s\n", $5, $NF }')
