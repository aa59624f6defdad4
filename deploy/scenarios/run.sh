#!/usr/bin/env bash
# Plays scenarios against a cluster of two hosts in network namespaces of this machine, a new one for each.
#
#   deploy/scenarios/run.sh NAME… [--json DIR] [-- OPTION…]
#
#   NAME…        probe, users-none, users-one, users-two, users-two-standby or users-two-standbys; without a name all
#                of them, one after the other
#   --json DIR   also leave the report of each as DIR/NAME.json
#   OPTION…      given to loadtest too, and outranks the scenario: -- --users 100
#
# In the end it prints what was published and ours as Markdown. HOLDFAST_BIN is the directory of the programs; without it
# they are built, optimized. README.md beside this has the figures of a whole run.
#
# Exit code: 0 all goals were met, 1 one was missed, 2 bad arguments, 3 a measurement is invalid, 130 interrupted.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SCENARIOS=$ROOT/deploy/scenarios
LAB_SH=$ROOT/deploy/lab.sh
ALL=(probe users-none users-one users-two users-two-standby users-two-standbys)
# How many service machines each host has, where it is not what the profile says: servers and standbys of a, of b.
declare -A KEPT=([users-none]='0 0 0 0' [users-one]='1 0 0 0' [users-two]='1 0 1 0'
    [users-two-standby]='1 1 1 0' [users-two-standbys]='1 1 1 1')
# A lab that is not in order after so many seconds never will be.
PATIENCE=60

names=() options=() JSON=''
while [ $# -gt 0 ]; do
    case $1 in
        --json) [ -d "${2:-}" ] || STATUS=2 die "--json expects a directory"; JSON=$(readlink -f "$2") && shift ;;
        --) shift && options=("$@") && break ;;
        -h | --help) help_of "$0" && exit 0 ;;
        -*) STATUS=2 die "unknown argument $1; --help shows what there is" ;;
        *)
            [[ " ${ALL[*]} " == *" $1 "* ]] || STATUS=2 die "there is no scenario '$1'; there are: ${ALL[*]}"
            names+=("$1")
            ;;
    esac
    shift
done
[ ${#names[@]} -gt 0 ] || names=("${ALL[@]}")

need_lab
need jq:jq
need_programs
export LAB_SH

LAB=''
REPORTS=${JSON:-$(mktemp -d "${TMPDIR:-/tmp}/holdfast-reports.XXXXXX")}
# shellcheck disable=SC2317 # called by the trap
finish() {
    local status=$?
    trap '' INT TERM
    end_lab
    [ -n "$JSON" ] || rm -rf "$REPORTS"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

end_lab() {
    [ -n "$LAB" ] || return 0
    "$LAB_SH" down "$LAB" || true
    exec 9>&-
    rm -rf "$LAB"
    LAB=''
}

await() {
    local what=$1 end=$((SECONDS + PATIENCE))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt "$end" ] || STATUS=3 die "$what: not there after $PATIENCE s"
        sleep 0.1
    done
}

make_lab() {
    LAB=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-scenario-$(id -u).XXXXXX")
    export LAB
    # The lab ends with this descriptor, and so with this script, whatever happens to it.
    exec 9> >(exec setsid "$LAB_SH" up "$LAB" >"$LAB/lab.log" 2>&1)
    await "the hosts" test -e "$LAB/up"
    "$LAB_SH" wait "$LAB" "$PATIENCE" 9>&-
}

manager() { "$LAB_SH" exec "$LAB" "$1" "$HOLDFAST_BIN/manager" --config "$LAB/$1/manager.toml" "${@:2}" 9>&-; }

# keep HOST SERVERS STANDBYS has so many machines of the service on a host.
keep() {
    {
        printf '[[service]]\nname = "stateless"\nreplicas = %d\n' "$2"
        [ "$3" = 0 ] || printf 'standbys = %d\nstandby_mode = "hot"\n' "$3"
    } >"$LAB/$1/stateless.toml"
    manager "$1" service apply "$LAB/$1/stateless.toml" --here >/dev/null
    await "as many machines as wanted on $1" has "$1" $(($2 + $3))
}

# shellcheck disable=SC2317 # called by await
has() { [ "$(manager "$1" vm list | awk -v name="^$1-stateless-" '$1 ~ name && $4 == "Ready"' | wc -l)" = "$2" ] \
    && [ "$(manager "$1" vm list | awk -v name="^$1-stateless-" '$1 ~ name' | wc -l)" = "$2" ]; }

# Nobody is left without an answer: where there is no server, it is the balancer's 503.
are_clear() { jq -e '.failed == (.failed_by_kind["http-503"] // 0)' "$1" >/dev/null; }

status=0
for name in "${names[@]}"; do
    say "$name: starting two hosts"
    make_lab
    if [ -n "${KEPT[$name]:-}" ]; then
        read -r servers_a standbys_a servers_b standbys_b <<<"${KEPT[$name]}"
        keep a "$servers_a" "$standbys_a"
        keep b "$servers_b" "$standbys_b"
        "$LAB_SH" wait "$LAB" "$PATIENCE" 9>&-
    fi
    code=0
    "$LAB_SH" exec "$LAB" client "$HOLDFAST_BIN/loadtest" --scenario "$SCENARIOS/$name.toml" \
        --json "$REPORTS/$name.json" "${options[@]}" 9>&- || code=$?
    end_lab
    [ "$code" != 130 ] || exit 130
    if [ "$code" = 0 ] && [ -n "${KEPT[$name]:-}" ] && ! are_clear "$REPORTS/$name.json"; then
        say "$name: there are failures that are no 503"
        code=1
    fi
    # The worst is what is said of all.
    [ "$code" -le "$status" ] || status=$code
done
"$SCENARIOS/table.sh" "$REPORTS"
exit "$status"
