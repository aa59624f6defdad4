#!/usr/bin/env bash
# Builds the Debian packages of manager, lb and loadtest into target/debian, with their units, settings, manual pages,
# completions, and the licences and a list (SBOM) of what is linked.
#
#   deploy/packages.sh [--programs DIR] [--version VERSION] [--out DIR] [--fast]
#
#   --programs DIR      take the programs from there instead of building them (--release)
#   --version VERSION   the packages' version, if it is to be another than the programs'
#   --out DIR           where the packages go
#   --fast              compress less
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PROGRAMS='' VERSION='' OUT='' FAST=()
while [ $# -gt 0 ]; do
    case $1 in
        --programs) PROGRAMS=${2:-} && shift ;;
        --version) VERSION=${2:-} && shift ;;
        --out) OUT=${2:-} && shift ;;
        --fast) FAST=(--fast) ;;
        -h | --help) help_of "$0" && exit 0 ;;
        *) STATUS=2 die "unknown argument $1; --help shows what there is" ;;
    esac
    shift || STATUS=2 die "$1 expects a value"
done

need dpkg-deb:dpkg gzip:gzip
need_build
need_cargo_tool cargo-deb cargo-deb
TARGET=$(target_directory)
OUT=${OUT:-$TARGET/debian}
if [ -z "$PROGRAMS" ]; then
    say "Building"
    cargo build --release --locked --quiet -p manager -p lb -p loadtest
    PROGRAMS=$TARGET/release
fi

# cargo-deb takes files from where Cargo.toml says, which is in the checkout, wherever things are built.
STAGE=$(dirname "${BASH_SOURCE[0]}")/../target/packages
rm -rf "$STAGE"
mkdir -p "$OUT"
for program in manager lb loadtest; do
    [ -x "$PROGRAMS/$program" ] || die "no $PROGRAMS/$program: build it first, or leave --programs out"
    install -D -m 755 "$PROGRAMS/$program" "$STAGE/$program"
    "$PROGRAMS/$program" man "$STAGE/man/$program"
    gzip -9n "$STAGE/man/$program"/*.1
    mkdir -p "$STAGE/completions/$program"
    for shell in bash zsh fish; do
        "$PROGRAMS/$program" completions "$shell" >"$STAGE/completions/$program/$shell"
    done
    "$(dirname "${BASH_SOURCE[0]}")/packages/linked.sh" "$program" "$STAGE/linked/$program"
done

for package in manager lb loadtest; do
    cargo deb --quiet --no-build --no-strip --locked "${FAST[@]}" -p "$package" --output "$OUT/" \
        ${VERSION:+--deb-version "$VERSION"}
done
ls "$OUT"/*.deb
