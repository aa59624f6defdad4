#!/usr/bin/env bash
# Plays scenarios against a cluster of two hosts in network namespaces of this machine, a new one for each.
#
#   deploy/scenarios/run.sh NAME… [--json DIR] [-- OPTION…]
#
#   NAME…        probe, users-none, users-one or users-two; without a name all of them, one after the other
#   --json DIR   also leave the report of each as DIR/NAME.json
#   OPTION…      given to loadtest too, and outranks the scenario: -- --users 100
#
# HOLDFAST_BIN is the directory of the programs; without it they are built, optimized. README.md beside this has the
# published figures and ours.
#
# Exit code: 0 all goals were met, 1 one was missed, 2 bad arguments, 3 a measurement is invalid, 130 interrupted.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SCENARIOS=$ROOT/deploy/scenarios
LAB_SH=$ROOT/deploy/lab.sh
ALL=(probe users-none users-one users-two)
# How many service machines each host keeps, where it is not what the profile says.
declare -A KEPT_A=([users-none]=0 [users-one]=1 [users-two]=1) KEPT_B=([users-none]=0 [users-one]=0 [users-two]=1)
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
if [ -z "${HOLDFAST_BIN:-}" ]; then
    need_build
    say "Building, optimized"
    (cd "$ROOT" && cargo build --release --bins --locked --quiet)
    HOLDFAST_BIN=$(cd "$ROOT" && target_directory)/release
fi
HOLDFAST_BIN=$(readlink -f "$HOLDFAST_BIN")
export HOLDFAST_BIN LAB_SH

LAB=''
# shellcheck disable=SC2317 # called by the trap
finish() {
    local status=$?
    trap '' INT TERM
    end_lab
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

machines_of() { manager "$1" vm list | awk -v name="^$1-stateless-" '$1 ~ name { print $1 }'; }

# keep HOST COUNT takes away the service machines of a host beyond COUNT.
keep() {
    local machine
    for machine in $(machines_of "$1" | tail -n +$(($2 + 1))); do manager "$1" vm delete "$machine" >/dev/null; done
    await "fewer machines on $1" few "$1" "$2"
}

# shellcheck disable=SC2317 # called by await
few() { [ "$(machines_of "$1" | wc -l)" -le "$2" ]; }

status=0
for name in "${names[@]}"; do
    say "$name: starting two hosts"
    make_lab
    if [ -n "${KEPT_A[$name]:-}" ]; then
        keep a "${KEPT_A[$name]}"
        keep b "${KEPT_B[$name]}"
        "$LAB_SH" wait "$LAB" "$PATIENCE" 9>&-
    fi
    code=0
    "$LAB_SH" exec "$LAB" client "$HOLDFAST_BIN/loadtest" --scenario "$SCENARIOS/$name.toml" \
        ${JSON:+--json "$JSON/$name.json"} "${options[@]}" 9>&- || code=$?
    end_lab
    [ "$code" != 130 ] || exit 130
    # The worst is what is said of all.
    [ "$code" -le "$status" ] || status=$code
done
exit "$status"
