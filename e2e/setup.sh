#!/usr/bin/env bash
# Installs what building, running, testing and measuring Corten needs, and says what it installs.
#
#   e2e/setup.sh nextest  the runner of the tests
#   e2e/setup.sh coverage what counts the lines that tests run
#   e2e/setup.sh mutants  nextest + what changes the code to try the tests
#   e2e/setup.sh sanitize test + the standard library's source, and a nightly compiler with Miri
#   e2e/setup.sh build    compiler and linker, the static Rust target
#   e2e/setup.sh run      build + registry, busybox, crictl
#   e2e/setup.sh critest  run + critest, and what the stand-ins of its images are made of
#   e2e/setup.sh test     critest + bench + the runner of the tests, Debian's CNI plugins, runc and crun
#   e2e/setup.sh package  what makes packages, and a Debian to try them in
#   e2e/setup.sh fuzz     build + the C++ compiler that libFuzzer is built with
#   e2e/setup.sh bench    run + upstream's CNI plugins, containerd and runc (the peer)
#   e2e/setup.sh kubelet  bench + the kubelet
#   e2e/setup.sh cluster  kubelet + etcd, the control plane, kube-proxy, kubectl, CoreDNS, metrics-server, agnhost and helm
#   e2e/setup.sh suites   cluster + Kubernetes' own tests, and what the stand-ins of their images are made of
#   e2e/setup.sh nri      run + plugins of others for the Node Resource Interface
#   e2e/setup.sh aarch64  compiler and emulator of the other architecture
#   e2e/setup.sh vm       the emulator, and the kernel of the machine that e2e/vm boots
#
# Debian packages go through apt-get, Go programs are built once into .cache/ (git-ignored) from the modules in
# e2e/gotools. Running it again costs a second and changes nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.cache/tools
export DEBIAN_FRONTEND=noninteractive

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# Installs the Debian packages that are missing; services that come with them stay off.
packages() {
    local missing=() package policy=
    for package in "$@"; do installed "$package" || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "run as root, or install these first: ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    timeout -k 10 300 apt-get update -qq || say "apt-get update failed; trying with the package lists at hand"
    local status=0
    timeout -k 10 600 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null || status=$?
    [ -z "$policy" ] || rm -f "$policy"
    [ $status = 0 ] || die "apt-get could not install: ${missing[*]}"
}

# The static target of the shim and the pause; the build falls back to a static gnu target without it.
rust_target() {
    command -v cargo >/dev/null || die "cargo is not on PATH: install Rust (rustup) first"
    local target
    target=$(uname -m)-unknown-linux-musl
    [ -d "$(cd "$root" && rustc --print sysroot)/lib/rustlib/$target" ] && return 0
    say "adding the Rust target $target"
    command -v rustup >/dev/null && (cd "$root" && rustup target add "$target") && return 0
    say "no $target to be had; the shim and the pause will be linked statically with glibc instead"
}

# The other architecture, for which e2e/lint.sh has the code checked; without it, that says so.
other_target() {
    local target=aarch64-unknown-linux-musl
    [ "$(uname -m)" != aarch64 ] || target=x86_64-unknown-linux-musl
    [ -d "$(cd "$root" && rustc --print sysroot)/lib/rustlib/$target" ] && return 0
    say "adding the Rust target $target"
    command -v rustup >/dev/null && (cd "$root" && timeout -k 10 300 rustup --quiet target add "$target") ||
        say "no $target to be had; nothing is checked for it"
}

# The runner of the tests in its pinned version, below .cache: one that this machine has already is not touched.
nextest() {
    local directory=$root/.cache/nextest list=$root/e2e/nextest.txt version
    version=$(sed -n 's/^nextest-version = "\(.*\)"/\1/p' "$root/.config/nextest.toml")
    [ "$("$directory/bin/cargo-nextest" nextest --version 2>/dev/null | awk 'NR == 1 { print $2 }')" = "$version" ] && return 0
    [ "$(cargo-nextest nextest --version 2>/dev/null | awk 'NR == 1 { print $2 }')" = "$version" ] && return 0
    if ! python3 -m pip --version >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then packages python3-pip; fi
    say "installing cargo-nextest $version (once; into .cache/nextest)"
    rm -rf "$directory"
    timeout -k 10 300 python3 -m pip install --quiet --root-user-action=ignore --no-deps --only-binary :all: \
        --require-hashes --target "$directory" --requirement "$list" && return 0
    say "no built cargo-nextest to be had; building it with cargo (minutes)"
    mkdir -p "$directory"
    nice timeout -k 10 1500 cargo install --quiet --locked --root "$directory" "cargo-nextest@$version" ||
        die "cargo could not install cargo-nextest $version"
}

# LLVM's own tools, in the version of the compiler: rustup's where there are some, else Debian's.
coverage() {
    local sysroot version
    sysroot=$(cd "$root" && rustc --print sysroot)
    version=$(cd "$root" && rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    [ ! -x "$sysroot/lib/rustlib/$(uname -m)-unknown-linux-gnu/bin/llvm-cov" ] || return 0
    packages "llvm-$version"
}

# What changes the code to try the tests, in a pinned version, below .cache.
mutants() {
    local directory=$root/.cache/mutants version=27.1.0
    [ "$("$directory/bin/cargo-mutants" mutants --version 2>/dev/null)" = "cargo-mutants $version" ] && return 0
    say "building cargo-mutants $version (once, minutes; into .cache/mutants)"
    nice timeout -k 10 1500 cargo install --quiet --locked --force --root "$directory" "cargo-mutants@$version" ||
        die "cargo could not install cargo-mutants $version"
}

# The standard library's source, as the sanitizers want it built anew; and the one compiler that has Miri.
sanitizers() {
    command -v rustup >/dev/null || die "the source of the standard library and Miri come with rustup"
    if [ ! -d "$(cd "$root" && rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
        say "adding the source of the standard library"
        (cd "$root" && timeout -k 10 300 rustup --quiet component add rust-src) || die "rustup could not add rust-src"
    fi
    cargo +nightly miri --version >/dev/null 2>&1 && return 0
    say "installing a nightly compiler with Miri"
    timeout -k 10 900 rustup --quiet toolchain install nightly --profile minimal --component miri --component rust-src ||
        die "rustup could not install Miri"
}

# go_tool MODULE PACKAGE NAME CGO [FLAGS...]: one program of a module under e2e/gotools, built once a version.
go_tool() { go_program build "$@"; }

# go_tests: the same of the tests of a package, as a program.
go_tests() { go_program "test -c" "$@"; }

go_program() {
    local verb=$1 module=$root/e2e/gotools/$2 package=$3 name=$4 cgo=$5
    shift 5
    local stamp=$tools/.$name.stamp key
    key=$( (cat "$module/go.mod" "$module/go.sum" && echo "$cgo $*") | sha256sum | cut -d' ' -f1)
    [ -x "$tools/$name" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && return 0
    command -v go >/dev/null || die "go is not on PATH: install Go 1.26 first"
    say "building $name (once; into .cache/tools)"
    mkdir -p "$(dirname "$tools/$name")" "$(dirname "$stamp")"
    (cd "$module" && CGO_ENABLED=$cgo GOFLAGS="-buildvcs=false -mod=readonly" \
        nice timeout -k 10 2400 go $verb -trimpath -ldflags='-s -w' "$@" -o "$tools/$name.new" "$package")
    mv "$tools/$name.new" "$tools/$name" || return 1
    printf '%s\n' "$key" >"$stamp"
}

# The version of the module that provides a package, for stamping into binaries and for the tables.
version_of() {
    awk -v m="$2" '$1 == "require" { $1 = ""; $0 = $0 } $1 == m && $2 ~ /^v/ { print $2; exit }' \
        "$root/e2e/gotools/$1/go.mod"
}

crictl() {
    go_tool crictl sigs.k8s.io/cri-tools/cmd/crictl crictl 0 \
        -ldflags="-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$(version_of crictl sigs.k8s.io/cri-tools)"
}

# With ginkgo, which critest calls for running specs side by side.
critest() {
    go_tests critest sigs.k8s.io/cri-tools/cmd/critest critest 0 \
        -ldflags="-s -w -X sigs.k8s.io/cri-tools/pkg/version.Version=$(version_of critest sigs.k8s.io/cri-tools)"
    go_tool critest github.com/onsi/ginkgo/v2/ginkgo ginkgo 0
}

# kubernetes PACKAGE...: programs of Kubernetes, all of one version.
kubernetes() {
    local version minor package base=k8s.io/component-base/version
    version=$(version_of kubernetes k8s.io/kubernetes)
    minor=${version#v1.}
    for package in "$@"; do
        go_tool kubernetes "k8s.io/kubernetes/$package" "${package##*/}" 0 \
            -ldflags="-s -w -X $base.gitVersion=$version -X $base.gitMajor=1 -X $base.gitMinor=${minor%%.*}"
    done
}

# What a cluster consists of, beside the node's runtime; etcd in the version that the API server is tested with.
cluster() {
    go_tool kubernetes go.etcd.io/etcd/server/v3 etcd 0
    go_tool kubernetes corten.example/gotools/kubernetes/coredns coredns 0
    go_tool helm helm.sh/helm/v4/cmd/helm helm 0
    go_tool metrics-server sigs.k8s.io/metrics-server/cmd/metrics-server metrics-server 0
    kubernetes cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy,kubectl,kubelet} test/images/agnhost
}

# Kubernetes' own tests, as one program, and what runs it side by side.
suites() {
    local version base=k8s.io/component-base/version
    version=$(version_of suites k8s.io/kubernetes)
    go_tests suites k8s.io/kubernetes/test/e2e e2e.test 0 -ldflags="-s -w -X $base.gitVersion=$version"
    go_tool suites github.com/onsi/ginkgo/v2/ginkgo e2e-ginkgo 0
}

cni_plugins() {
    local plugins=github.com/containernetworking/plugins version flags
    version=$(version_of cni $plugins)
    flags="-s -w -X $plugins/pkg/utils/buildversion.BuildVersion=$version"
    mkdir -p "$tools/cni"
    go_tool cni $plugins/plugins/main/bridge cni/bridge 0 -ldflags="$flags"
    go_tool cni $plugins/plugins/main/loopback cni/loopback 0 -ldflags="$flags"
    go_tool cni $plugins/plugins/ipam/host-local cni/host-local 0 -ldflags="$flags"
    go_tool cni $plugins/plugins/meta/portmap cni/portmap 0 -ldflags="$flags"
}

peer() {
    local containerd=github.com/containerd/containerd/v2 runc=github.com/opencontainers/runc
    go_tool runc $runc runc 1 -tags seccomp -ldflags="-s -w -X main.version=$(version_of runc $runc | tr -d v)"
    go_tool containerd $containerd/cmd/containerd-shim-runc-v2 containerd-shim-runc-v2 0
    go_tool containerd $containerd/cmd/containerd containerd 0 \
        -ldflags="-s -w -X $containerd/version.Version=$(version_of containerd $containerd)"
}

# Plugins of others, unchanged. Where a proxy of Go modules does not hand out those of one of the two projects, the
# others are built nevertheless, and what would use these says that it is skipped.
nri_plugins() {
    local plugin nri=github.com/containerd/nri/plugins more=github.com/containers/nri-plugins/cmd/plugins
    mkdir -p "$tools/nri"
    for plugin in logger differ template ulimit-adjuster {device,hook,network-device}-injector writable-cgroups; do
        go_tool nri "$nri/$plugin" "nri/$plugin" 0 || say "no $plugin to be had"
    done
    for plugin in topology-aware memory-qos; do
        go_tool nri-plugins "$more/$plugin" "nri/$plugin" 0 || say "no $plugin to be had"
    done
}

# The kernel and the static busybox of the virtual machine: unpacked, not installed, because this machine has its own.
guest() {
    local store=$root/.cache/vm work kernel version
    [ "$(uname -m)" = x86_64 ] || die "the virtual machine is made for x86_64 only"
    [ -e "$store/version" ] && return 0
    work=$(mktemp -d)
    kernel=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '$1 == "Depends:" { print $2; exit }')
    if [ -z "$kernel" ]; then
        timeout -k 10 300 apt-get update -qq || die "apt-get update failed"
        kernel=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" { print $2; exit }')
    fi
    version=${kernel#linux-image-}
    say "downloading $kernel and busybox-static (once; into .cache/vm)"
    # The download's user may not write here; apt says so, and goes on as root.
    (cd "$work" && timeout -k 10 600 apt-get download -qq "$kernel" busybox-static) 2>/dev/null ||
        die "apt-get could not download $kernel"
    mkdir -p "$store"
    dpkg-deb -x "$work"/linux-image-*.deb "$work/kernel"
    dpkg-deb -x "$work"/busybox-static_*.deb "$work/busybox"
    depmod -b "$work/kernel" "$version"
    rm -rf "$store/boot" "$store/lib"
    mv "$work/kernel/boot" "$work/kernel/lib" "$store/"
    mv "$work/busybox/bin/busybox" "$store/busybox"
    rm -rf "$work"
    echo "$version" >"$store/version"
}

build_needs() {
    packages ca-certificates gcc libc6-dev make
    rust_target
}
run_needs() {
    build_needs
    packages busybox docker-registry iproute2 nftables procps
    crictl
}

critest_needs() {
    run_needs
    packages nginx util-linux
    # Specs that run where AppArmor is on call its parser, through sudo.
    ! grep -qs Y /sys/module/apparmor/parameters/enabled || packages apparmor sudo
    critest
}

bench_needs() {
    run_needs
    packages iptables pkg-config libseccomp-dev
    cni_plugins
    peer
}

cluster_needs() {
    bench_needs
    packages openssl
    cluster
}

test_needs() {
    critest_needs
    nextest
    other_target
    packages attr containernetworking-plugins crun e2fsprogs libfaketime musl-tools libcap2-bin openssl prometheus python3-grpcio runc skopeo umoci
    bench_needs
}

for what in "${@:-run}"; do
    case $what in
    nextest) nextest ;;
    coverage) coverage ;;
    mutants)
        nextest
        mutants
        ;;
    build) build_needs ;;
    run) run_needs ;;
    critest) critest_needs ;;
    kubelet)
        bench_needs
        kubernetes cmd/kubelet
        ;;
    cluster)
        cluster_needs
        ;;
    suites)
        cluster_needs
        packages bash bind9-dnsutils curl iproute2 libc-bin netcat-openbsd nginx util-linux
        suites
        ;;
    test) test_needs ;;
    sanitize)
        test_needs
        sanitizers
        ;;
    bench) bench_needs ;;
    package) packages binutils dpkg-dev mmdebstrap python3 rpm xz-utils ;;
    nri)
        run_needs
        nri_plugins
        ;;
    aarch64)
        other_target
        packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
        ;;
    vm)
        packages qemu-system-x86 e2fsprogs kmod cpio apparmor sudo dbus
        guest
        ;;
    fuzz)
        build_needs
        packages g++
        ;;
    *) die "unknown part: $what (nextest, coverage, mutants, sanitize, build, run, critest, test, bench, kubelet, cluster, suites, package, nri, aarch64, vm, fuzz)" ;;
    esac
done
