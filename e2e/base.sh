#!/usr/bin/env bash
# Builds another revision of Corten as e2e/build.sh --quick does, into target/base/target/dist, to be compared with.
#
#   e2e/base.sh REVISION
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
revision=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "base: there is no revision $1" >&2; exit 1; }
git worktree prune
if [ -e target/base/.git ]; then
    git -C target/base checkout --quiet --detach "$revision"
else
    git worktree add --quiet --detach target/base "$revision"
fi
cd target/base
e2e/build.sh --quick
