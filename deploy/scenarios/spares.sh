#!/usr/bin/env bash
# Measures how soon a machine that died is ready again at its address: made of a spare, and made anew.
#
#   deploy/scenarios/spares.sh [ROUNDS]
#
# A cluster of two hosts in network namespaces of this machine. In each round (3, each with two deaths) a machine of a service
# that has spares dies, and one of another service that has none. The times are those of the manager: from the death
# to the first heartbeat. HOLDFAST_BIN is the directory of the programs; without it they are built, optimized.
#
# Exit code: 0 the median with spares is 150 ms or less, 1 it is not, 2 bad arguments, 3 a measurement failed.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

LAB_SH=$ROOT/deploy/lab.sh
MANAGER=http://192.168.10.1:8080
# The median that is to be met, in milliseconds.
GOAL=150
# What does not come within so many seconds never will.
PATIENCE=60

case ${1:-} in -h | --help) help_of "$0" && exit 0 ;; esac
ROUNDS=${1:-3}
case $ROUNDS in '' | *[!0-9]* | 0*) STATUS=2 die "expected a whole number of rounds above 0, not '$ROUNDS'" ;; esac

need_lab
need jq:jq
need_programs

LAB=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-spares-$(id -u).XXXXXX")
trap '"$LAB_SH" down "$LAB" || true; rm -rf "$LAB"' EXIT
trap 'exit 130' INT

get() { "$LAB_SH" exec "$LAB" client curl -sf -m 2 "$MANAGER$1" 9>&-; }

await() {
    local what=$1 end=$((SECONDS + PATIENCE))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt "$end" ] || STATUS=3 die "$what: not there after $PATIENCE s"
        sleep 0.1
    done
}

# shellcheck disable=SC2317 # called by await
spares_wait() { [ "$(get /services/warm | jq .spares)" = 2 ]; }

# What all replacements of a service took so far, in seconds, and how many there were.
sum_of() {
    get /metrics | awk -v end="{service=\"$1\"}" '
        $1 == "manager_machine_replacement_duration_seconds_sum" end { sum = $2 }
        $1 == "manager_machine_replacement_duration_seconds_count" end { count = $2 }
        END { printf "%s %d\n", sum + 0, count }'
}

# shellcheck disable=SC2317 # called by await
has_replaced() { [ "$(sum_of "$1" | cut -d ' ' -f 2)" -gt "$2" ]; }

# death SERVICE prints how long one took, in milliseconds.
death() {
    local before after
    before=$(sum_of "$1")
    "$LAB_SH" fault "$LAB" kill "a-$1-1" >/dev/null 9>&-
    await "a-$1-1 again" has_replaced "$1" "${before#* }"
    after=$(sum_of "$1")
    awk -v before="${before% *}" -v after="${after% *}" 'BEGIN { printf "%.0f\n", (after - before) * 1000 }'
}

median() { sort -n "$1" | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

cat >"$LAB/services.toml" <<EOF
[[service]]
name = "warm"
replicas = 1
spares = 2
[[service.route]]
hosts = ["warm.example"]
[[service]]
name = "plain"
replicas = 1
[[service.route]]
hosts = ["plain.example"]
EOF
export HOLDFAST_SETTINGS=$LAB/services.toml HOLDFAST_CERTIFICATES=0
exec 9> >(exec setsid "$LAB_SH" up "$LAB" >"$LAB/lab.log" 2>&1)
await "the hosts" test -e "$LAB/up"
"$LAB_SH" wait "$LAB" "$PATIENCE" 9>&-
for ((round = 1; round <= ROUNDS; round++)); do
    for _ in 1 2; do
        await "the spares" spares_wait
        death warm >>"$LAB/warm"
        death plain >>"$LAB/plain"
    done
    # A machine that dies again and again is made to wait; after half a minute that is forgotten.
    [ "$round" = "$ROUNDS" ] || sleep 31
done

echo '| | times, ms | median, ms |'
echo '|---|---|---|'
for service in warm plain; do
    what=$([ "$service" = warm ] && echo 'made of a spare' || echo 'made anew')
    echo "| $what | $(sort -n "$LAB/$service" | paste -sd ' ') | $(median "$LAB/$service") |"
done
[ "$(median "$LAB/warm")" -le "$GOAL" ]
