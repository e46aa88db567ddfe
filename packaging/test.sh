#!/usr/bin/env bash
# The life of the packages in a fresh Debian 12: install, a pod by crictl, upgrade under it, remove, purge, nothing left.
#
# systemd is not process 1 there. What it does with the unit is done by this script: it starts the unit's ExecStart with
# a socket for READY=1, stops the daemon alone, and starts it again after an upgrade. What the packages' scripts ask of
# systemctl is written down by one that does nothing else; systemd-analyze judges the unit.
#
#   packaging/test.sh      as root, with target/dist and .cache/tools/crictl; MIRROR= names a mirror of Debian's other than mmdebstrap's own
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" != --inside ]; then
    [ "$(id -u)" = 0 ] || { echo "package-test: run as root" >&2; exit 1; }
    work=$(mktemp -d /var/tmp/corten-package.XXXXXX)
    export parent=corten-package-$$
    sweep() {
        rm -rf --one-file-system "$work"
        find /sys/fs/cgroup -depth -type d -path "*/$parent*" -exec rmdir {} \; 2>/dev/null || true
    }
    trap sweep EXIT
    base=$PWD/.cache/debian-12.tar
    if [ ! -e "$base" ]; then
        echo "package-test: making a Debian 12 (once; into .cache)"
        # By the mirrors and proxies that this host uses.
        apt-config dump --format '%F "%v";%n' Acquire >"$work/apt.conf"
        timeout -k 10 900 mmdebstrap --quiet --variant=minbase --include=systemd,procps,kmod,iproute2,nftables --aptopt="$work/apt.conf" bookworm "$base.new.tar" ${MIRROR:+"$MIRROR"}
        mv "$base.new.tar" "$base"
    fi
    mkdir "$work/root" "$work/second"
    tar -C "$work/root" -xf "$base"
    packaging/dist.sh deb rpm >/dev/null
    # Another build: programs of other bytes that do the same.
    cp -a target/dist/. "$work/second/"
    for program in corten corten-shim; do
        echo second >"$work/mark"
        objcopy --add-section .note.second="$work/mark" "$work/second/$program"
    done
    DIST=$work/second REVISION=2 packaging/dist.sh deb rpm >/dev/null
    mkdir "$work/root/packages"
    cp target/packages/corten*.{deb,rpm} "$work/root/packages/"
    cp .cache/tools/crictl "$work/root/usr/local/bin/"
    # Its namespaces end all that is left when it ends, however it does.
    timeout -k 10 300 unshare --mount --propagation private --net --ipc --uts --pid --fork --kill-child \
        "$PWD/packaging/test.sh" --inside "$work"
    exit
fi

work=$2 root=$2/root

say() { echo "package-test: $*"; }
fail() { echo "package-test: error: $*" >&2; tail -n 20 "$work/daemon.log" >&2 || true; exit 1; }
inside() { chroot "$root" /usr/bin/env PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }

# A mount of its own, as every root is.
mount --bind "$root" "$root"
mount -t proc proc /proc
mount -t proc proc "$root/proc"
# Of its own network, with the cgroups of the host.
mount -t sysfs sysfs "$root/sys"
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t tmpfs -o mode=755 tmpfs "$root/run"
ip link set lo up

# Every file of the root but what dpkg and rpm know, and logs.
files() {
    (cd "$root" && find . -xdev \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./packages -o -path './var/lib/dpkg' \
        -o -path './var/lib/rpm' -o -path './var/log' -o -path './var/cache' -o -path './tmp' \) -prune -o -print; find ./run) | sort -u
}

# What the host has of networks.
host() { ip -o link | awk '{ print $2 }' && nft list ruleset; }

# start: what systemd does with the unit, but for its limits.
start() {
    local command
    command=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/corten.service")
    rm -f "$root/run/notify"
    python3 - "$root/run/notify" "$work/notified" <<'PYTHON' &
import socket, sys
server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
server.bind(sys.argv[1])
server.settimeout(30)
while True:
    message = server.recv(4096).decode()
    if "READY=1" in message:
        open(sys.argv[2], "w").write(message)
        break
PYTHON
    local listener=$!
    for _ in $(seq 100); do [ -S "$root/run/notify" ] && break || sleep 0.05; done
    # shellcheck disable=SC2086
    NOTIFY_SOCKET=/run/notify chroot "$root" $command >>"$work/daemon.log" 2>&1 &
    daemon=$!
    wait "$listener" || fail "the daemon did not say that it is ready"
    rm -f "$root/run/notify"
}

# stop: the daemon alone (KillMode=process).
stop() {
    kill -TERM "$daemon"
    wait "$daemon" || fail "the daemon ended with $?"
}

image() {
    mkdir -p "$work/image/bin"
    cp "$(command -v busybox)" "$work/image/bin/busybox"
    ln -sf busybox "$work/image/bin/sh"
    ldd "$work/image/bin/busybox" | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p "$work/image$(dirname "$library")"
        cp -L "$library" "$work/image$library"
    done
    tar -C "$work/image" --owner=0 --group=0 -cf "$work/layer.tar" .
    python3 - "$work" <<'PYTHON'
import hashlib, json, os, shutil, sys
work = sys.argv[1]
top = os.path.join(work, "docker")
os.makedirs(top)
digest = hashlib.sha256(open(f"{work}/layer.tar", "rb").read()).hexdigest()
shutil.copy(f"{work}/layer.tar", f"{top}/layer.tar")
machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
config = {"architecture": machine, "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]}}
json.dump(config, open(f"{top}/config.json", "w"))
json.dump([{"Config": "config.json", "RepoTags": ["example.com/busybox:1"], "Layers": ["layer.tar"]}], open(f"{top}/manifest.json", "w"))
PYTHON
    tar -C "$work/docker" -cf "$root/packages/busybox.tar" .
}

# pod: prints the ids of a pod and of a container that runs in it.
pod() {
    cat >"$root/packages/pod.json" <<JSON
{"metadata": {"name": "$1", "namespace": "default", "uid": "$1", "attempt": 0}, "log_directory": "/run/pods",
 "linux": {"cgroup_parent": "/$parent"}}
JSON
    cat >"$root/packages/container.json" <<'JSON'
{"metadata": {"name": "main"}, "image": {"image": "example.com/busybox:1"}, "log_path": "main.log",
 "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do echo tick; /bin/busybox sleep 0.2; done"], "linux": {}}
JSON
    local pod container
    pod=$(inside crictl runp /packages/pod.json) || return
    container=$(inside crictl create "$pod" /packages/container.json /packages/pod.json) || return
    inside crictl start "$container" >/dev/null || return
    echo "$pod $container"
}

process() { inside crictl inspect -o go-template --template '{{.info.pid}}' "$1"; }

end_pod() { inside crictl stopp "$1" >/dev/null && inside crictl rmp "$1" >/dev/null; }

# settings: of this root, which has no plugin for a network and no systemd for cgroups.
settings() {
    printf '[network]\nbuiltin_network = true\n[runtime]\ncgroup_driver = "cgroupfs"\n' >"$root/etc/corten/conf.d/50-test.toml"
}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
deb() { echo "/packages/corten_$version-$1_$(dpkg --print-architecture).deb"; }
rpm_of() { echo "/packages/corten-$version-$1.$(uname -m).rpm"; }

# asked WORDS: a script has asked that of systemctl since the last time that this was forgotten.
asked() {
    grep -qx "$1" "$root/packages/systemctl" || fail "systemctl was not asked to $1, but: $(tr '\n' ';' <"$root/packages/systemctl")"
}
forget() { : >"$root/packages/systemctl"; }

image
mkdir -p "$root/run/pods" "$root/run/systemd/system"
printf '#!/bin/sh\necho "$*" >>/packages/systemctl\n' >"$root/usr/bin/systemctl"
chmod 755 "$root/usr/bin/systemctl"
files >"$work/before"
host >"$work/host"

say "install"
inside dpkg --install "$(deb 1)" >/dev/null
asked "enable corten.service"
asked "restart corten.service"
forget
systemd-analyze verify --man=no --root="$root" corten.service 2>"$work/verify" || true
! grep -i corten "$work/verify" || fail "systemd-analyze does not like the unit"
inside corten config check --no-host >/dev/null || fail "the packaged configuration is refused"
settings
start
inside corten image load /packages/busybox.tar >/dev/null
one=$(pod one) || fail "no pod can be made"
read -r pod container <<<"$one"
first=$(process "$container")
[ "$(inside crictl exec "$container" /bin/busybox echo hello)" = hello ] || fail "no command runs in the container"
say "a pod runs"

echo 'no_such_key = 1' >"$root/etc/corten/conf.d/60-wrong.toml"
inside dpkg --install "$(deb 2)" >/dev/null 2>"$work/refused"
grep -q no_such_key "$work/refused" || fail "an upgrade does not say what is wrong with the settings"
! grep -q 'restart corten' "$root/packages/systemctl" || fail "an upgrade restarts the daemon with settings that it refuses"
rm "$root/etc/corten/conf.d/60-wrong.toml"
forget
inside dpkg --install "$(deb 2)" >/dev/null
asked "restart corten.service"
! grep -q enable "$root/packages/systemctl" || fail "an upgrade enables what somebody may have disabled"
[ -e "/proc/$daemon" ] || fail "an upgrade stopped the daemon before the new one could take over"
stop
lines=$(wc -l <"$root/run/pods/main.log")
start
cmp -s "/proc/$(pgrep -o -x corten)/exe" "$root/usr/bin/corten" || fail "the daemon is not the new program"
[ "$(process "$container")" = "$first" ] && [ -e "/proc/$first" ] || fail "the container is another one after the upgrade"
[ "$(inside crictl exec "$container" /bin/busybox echo hello)" = hello ] || fail "no command runs after the upgrade"
for _ in $(seq 100); do [ "$(wc -l <"$root/run/pods/main.log")" -gt $((lines + 2)) ] && break || sleep 0.1; done
[ "$(wc -l <"$root/run/pods/main.log")" -gt $((lines + 2)) ] || fail "the log does not go on"
two=$(pod two) || fail "no pod can be made after the upgrade"
end_pod "${two% *}"
say "upgraded under the pod, which goes on"

stop
inside dpkg --remove corten >/dev/null
asked "disable --now corten.service"
[ -e "$root/etc/corten/corten.toml" ] && [ -e "$root/etc/corten/conf.d/50-test.toml" ] || fail "remove took the configuration"
[ -e "/proc/$first" ] || fail "remove ended the pod"
inside dpkg --install "$(deb 2)" >/dev/null
start
[ "$(process "$container")" = "$first" ] || fail "the pod is lost by removing and installing again"
stop
inside dpkg --purge corten >/dev/null 2>"$work/purge"
grep -q 'pods are left' "$work/purge" || fail "purge does not tell of pods that run"
[ -d "$root/var/lib/corten" ] && [ -e "/proc/$first" ] || fail "purge took the files of a pod that runs"
say "removed and purged under the pod, which keeps its files"

inside dpkg --install "$(deb 2)" >/dev/null
settings
start
end_pod "$pod"
stop
inside dpkg --purge corten >/dev/null
rm -rf "$root/run/pods/"*
# It is iproute2's, who has none here.
rmdir "$root/run/netns" || fail "network namespaces are left, or their directory went"
files | diff "$work/before" - >"$work/left" || { cat "$work/left" >&2; fail "purge leaves files"; }
host | diff "$work/host" - >&2 || fail "purge leaves what the host has of networks"
say "purged: nothing is left"

if command -v rpm >/dev/null && ls "$root"/packages/*.rpm >/dev/null 2>&1; then
    # Debian's rpm would rather not be asked, and has its database elsewhere.
    package_rpm() { rpm --root "$root" --dbpath /var/lib/rpm "$@" 2> >(grep -v 'use Alien\|However assuming' >&2); }
    forget
    # Debian stands in for Red Hat: its dependencies have other names, so they are left out.
    package_rpm --nodeps --install "$(rpm_of 1 | sed "s,^,$root,")"
    inside corten config check --no-host >/dev/null
    ! grep -q 'start corten\|enable' "$root/packages/systemctl" || fail "a first installation of the rpm starts the daemon"
    start
    stop
    package_rpm --nodeps --upgrade "$(rpm_of 2 | sed "s,^,$root,")"
    asked "try-restart corten.service"
    [ -e "$root/usr/bin/corten" ] && [ -e "$root/etc/crictl.yaml" ] || fail "the upgrade of the rpm took files"
    forget
    package_rpm --erase corten
    asked "disable --now corten.service"
    # As Red Hat's packages do, it keeps what the daemon wrote.
    rm -rf --one-file-system "$root/var/lib/corten" "$root/run/corten" "$root/run/netns" "$root/run/containerd" "$root/run/nri"
    files | diff "$work/before" - >"$work/left" || { cat "$work/left" >&2; fail "erasing the rpm leaves files"; }
    say "the rpm: installed, upgraded, erased"
else
    say "no rpm here: its package is not tried"
fi
