#!/usr/bin/env bash
# Says what is linked into a program: writes its licences with their texts (LICENCES.gz), and a list for programs
# (sbom.cdx.json: CycloneDX 1.5), of what Cargo.lock and the sources of the crates say. Needs no network.
#
#   deploy/packages/linked.sh CRATE DIR
#
# What only tests, build scripts and other platforms need is not in either.
#
# Exit code: 0 done, 1 not: a licence that nobody knows is a failure too.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
case ${1:-} in -h | --help) help_of "$0" && exit 0 ;; esac
[ $# = 2 ] || STATUS=2 die "expected a crate and a directory; --help says more"
CRATE=$1 OUT=$(mkdir -p "$2" && readlink -f "$2")
need jq:jq gzip:gzip git:git
need_cargo_tool cargo-cyclonedx cargo-cyclonedx
need_cargo_tool cargo-bundle-licenses cargo-bundle-licenses
cd "$ROOT"

# It writes beside every Cargo.toml of the workspace, under this name.
NAME=holdfast-sbom-$$
WORK=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-linked.XXXXXX")
# shellcheck disable=SC2317 # called by the trap
finish() {
    rm -rf "$WORK"
    find . -path ./target -prune -o -name "$NAME.json" -exec rm -f {} +
}
trap finish EXIT

# The time of the last change, so that the same source gives the same list.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date +%s)
export SOURCE_DATE_EPOCH
cargo cyclonedx -qq --manifest-path "$CRATE/Cargo.toml" --format json --spec-version 1.5 --no-build-deps \
    --target x86_64-unknown-linux-gnu --override-filename "$NAME"
sed "s|file://$ROOT|file:///holdfast|g" "$CRATE/$NAME.json" >"$OUT/sbom.cdx.json"

(cd "$CRATE" && cargo bundle-licenses --format json --output "$WORK/licences.json") 2>"$WORK/log" \
    || die "licences cannot be had: $(tail -n 5 "$WORK/log")"

# First who is linked, by whose licence; then each text once, under the names of all that have it. The name of a licence
# stands where a crate has no file with its text.
jq -r --slurpfile sbom "$OUT/sbom.cdx.json" '
    ($sbom[0].components | map(select(.purl | contains("download_url=file:") | not) | "\(.name) \(.version)")) as $linked
    | [.third_party_libraries[] | . + {id: "\(.package_name) \(.package_version)"} | select(.id | IN($linked[]))] as $all
    | ($linked - [$all[].id]) as $missing
    | if $missing != [] then error("nobody knows the licence of \($missing)") else . end
    | ($all | map(select((.license // "") == "")) | map(.id)) as $bare
    | if $bare != [] then error("no licence is named by \($bare)") else . end
    | (["This program contains:", ""]
        + ($all | map("\(.id): \(.license); \(.repository)"))
        + ([$all[] | .id as $id | .licenses[] | {id: $id, license, text}]
            | map(select(.text != "NOT FOUND"))
            | group_by(.text)
            | map("", "-----", "\(.[0].license): \(map(.id) | unique | join(", "))", "", .[0].text)))
    | .[]' "$WORK/licences.json" >"$WORK/LICENCES"
gzip -9n <"$WORK/LICENCES" >"$OUT/LICENCES.gz"
say "$CRATE: $(jq '.components | length' "$OUT/sbom.cdx.json") crates are linked or expanded"
