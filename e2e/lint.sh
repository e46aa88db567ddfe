#!/usr/bin/env bash
# Format, clippy with warnings denied, and cargo-deny; with `audit`, the advisories instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

deny_version=0.20.2

# A machine that has cargo-deny keeps its own; else it is built once, where cargo puts programs.
cargo_deny() {
    command -v cargo-deny >/dev/null && return 0
    echo "lint: installing cargo-deny $deny_version with cargo (once, minutes)"
    nice timeout -k 10 1500 cargo install --quiet --locked "cargo-deny@$deny_version" || return 1
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
}

if [ "${1:-}" = audit ]; then
    cargo_deny || { echo "lint: skipped: cargo-deny is not to be had"; exit 0; }
    if ! output=$(timeout -k 5 60 cargo deny check advisories 2>&1); then
        if grep -qiE 'failed to (fetch|open|load) advisory|advisory database|failed to fetch|network' <<<"$output"; then
            echo "audit: skipped: the advisory database cannot be reached from here"
            exit 0
        fi
        printf '%s\n' "$output"
        exit 1
    fi
    echo "audit: no known vulnerability"
    exit 0
fi

echo "lint: format"
cargo fmt --all --check
echo "lint: clippy, warnings denied"
# The pause is no_std and has its own panic handler: it can be checked only as the binary that it is.
cargo clippy --quiet --locked --workspace --exclude pause --all-targets -- -D warnings
cargo clippy --quiet --locked -p pause --profile shim -- -D warnings
cargo clippy --quiet --locked -p failpoint --all-targets --features armed -- -D warnings
echo "lint: unsafe code in src/sys and src/pause only"
if grep -rnE --include='*.rs' '\bunsafe( fn| impl| trait|) *\{|allow\(unsafe_code' src cni e2e | grep -vE '^src/(sys|pause)/'; then
    echo "lint: unsafe code is out of place"
    exit 1
fi
echo "lint: no file of more than 400 lines"
long=$(find src cni e2e -name '*.rs' -not -path '*/generated/*' -not -path '*/target/*' -exec wc -l {} + | awk '$2 != "total" && $1 > 400')
[ -z "$long" ] || { printf 'lint: too long for one file:\n%s\n' "$long"; exit 1; }
# A static build is the one that runs on every distribution; the other architecture is checked where its target is there.
for target in x86_64-unknown-linux-musl aarch64-unknown-linux-musl; do
    if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
        echo "lint: compiles for $target"
        # Nothing is linked: where this machine has no compiler of C for it, the code of C is left out.
        none=()
        [ "${target%%-*}" = "$(uname -m)" ] || none=("CC_${target//-/_}=true" "AR_${target//-/_}=true")
        env "${none[@]}" cargo check --quiet --locked --target "$target" -p corten -p corten-oci -p cni -p shim
    else
        echo "lint: skipped $target: this toolchain has no such target"
    fi
done
echo "lint: programs of e2e do not change what the daemon is compiled of"
features() {
    cargo tree --locked "$@" --edges normal,build --prefix none --format '{p} {f}' | sed 's/ (\*)$//' | sort -u
}
installed=(-p corten -p corten-oci -p cni)
other=$(comm -23 <(features "${installed[@]}") <(features "${installed[@]}" -p e2e))
[ -z "$other" ] || { printf 'lint: with e2e, other features are on in:\n%s\n' "$other"; exit 1; }
echo "lint: the lock file of the fuzz targets"
cargo metadata --quiet --locked --format-version 1 --manifest-path e2e/fuzz/Cargo.toml >/dev/null
echo "lint: every fuzz target has seeds"
for target in e2e/fuzz/targets/*.rs; do
    name=$(basename "$target" .rs)
    [ -n "$(ls "e2e/fuzz/seeds/$name" 2>/dev/null)" ] || { echo "lint: e2e/fuzz/seeds has none for $name"; exit 1; }
done
echo "lint: golden frames and records of releases are as they were released"
while read -r version commit _; do
    if ! git cat-file -e "$commit^{commit}" 2>/dev/null; then
        echo "lint: $version is not in this clone; the sums of src/wire/golden/releases.txt hold it alone"
        continue
    fi
    golden=("src/wire/golden/$version" "src/engine/record/golden/$version")
    git diff --quiet "$commit" -- "${golden[@]}" || { echo "lint: ${golden[*]}: not as they were released"; exit 1; }
done < <(grep -v '^#' src/wire/golden/releases.txt)
echo "lint: shell scripts parse"
for script in e2e/*.sh e2e/order/*.sh e2e/vm e2e/guest/{boot,init,job,tests} .ci/run; do bash -n "$script"; done
if [ -n "${CORTEN_SKIP_DENY:-}" ]; then
    echo "lint: skipped cargo deny, as CORTEN_SKIP_DENY says"
elif cargo_deny; then
    echo "lint: bans, licences, sources"
    cargo deny --log-level error check bans licenses sources
else
    echo "lint: skipped cargo deny: it cannot be installed here"
fi
