#!/usr/bin/env bash
# Prints what scenarios found beside what was published, as the tables of README.md beside this.
#
#   deploy/scenarios/run.sh --json DIR          # leaves a report of each
#   deploy/scenarios/table.sh DIR
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

case ${1:-} in
    -h | --help) help_of "$0" && exit 0 ;;
    '') STATUS=2 die "say which directory the reports are in; --help shows how they are made" ;;
esac
[ -d "$1" ] || STATUS=2 die "there is no directory $1"
need jq:jq

declare -A PUBLISHED=(
    [probe]='one request lost' [users-none]='error 100 %' [users-one]='error 11.38 %' [users-two]='error 0.20 %'
    [users-two-standby]='error 0.07 %' [users-two-standbys]='error 0.04 %'
)
ALL=(probe users-none users-one users-two users-two-standby users-two-standbys)

# row NAME FILTER prints what jq makes of a report; one that an invalid run left has no row.
row() {
    local report=$1.json
    if [ ! -e "$report" ]; then return 0; fi
    jq -r --arg name "$2" --arg published "${PUBLISHED[$2]}" "if .valid then $3 else empty end" "$report"
}

echo '| scenario | published | ours | of | faults: outage, well again after |'
echo '|---|---|---|---|---|'
for name in "${ALL[@]}"; do
    # shellcheck disable=SC2016 # what jq expands, not the shell
    row "$1/$name" "$name" '
        def ms: . * 10 | round / 10;
        (if $name == "probe" then "\(.failed) lost"
         else "error \(.failed / .intended * 100 * 100 | round / 100) %"
             + (if .failed > 0 and .failed == .failed_by_kind["http-503"] then ", all of them 503" else "" end)
         end) as $ours
        | ([.faults[] | "\(.fault): \(.outage_ms | ms) ms, \(.recovered_after_ms | round) ms"] | join("; ")) as $faults
        | "| `\($name)` | \($published) | \($ours) | \(.intended) | \(if $faults == "" then "–" else $faults end) |"'
done
echo
echo '| scenario | samples | average ms | min | max | std. dev. | error % | throughput /s | received KB/s | sent KB/s |'
echo '|---|---|---|---|---|---|---|---|---|---|'
for name in "${ALL[@]}"; do
    # shellcheck disable=SC2016 # what jq expands, not the shell
    row "$1/$name" "$name" '
        def short: if . == null then "–" else . * 10 | round / 10 end;
        .samples[-1] | "| `\($name)` | \(.samples) | \(.average_ms | short) | \(.min_ms | short) | \(.max_ms | short)"
        + " | \(.deviation_ms | short) | \(.error_percent * 100 | round / 100) | \(.throughput | short)"
        + " | \(.received_kb_per_s | short) | \(.sent_kb_per_s | short) |"'
done
