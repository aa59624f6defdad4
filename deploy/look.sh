#!/usr/bin/env bash
# Looks at the cluster that `deploy/demo.sh --keep` left running, the newest if there are several, and kills some of it.
#
#   deploy/look.sh page [--port N]      its status page, on 127.0.0.1 of this machine at port N (8080), until Ctrl-C
#   deploy/look.sh kill MACHINE         cuts the power of a machine, waits until all is well again, and says what happened
#   deploy/look.sh manager ARGUMENT…    a command of host a's manager, such as `manager status`
#   deploy/look.sh client COMMAND…      a command on the client, such as `client curl http://192.168.10.120/random/number`
#   deploy/look.sh files                where the logs of managers and machines are
#
# Exit code: 0 done, 1 failed, 2 bad arguments, 130 interrupted.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# The manager of host a, on the demo's own network.
MANAGER=192.168.10.1:8080
# How long a machine may take to be back, in seconds: virtual ones boot.
PATIENCE=120

[ $# -gt 0 ] || STATUS=2 die "what? --help shows what there is"
verb=$1
shift
case $verb in -h | --help) help_of "$0" && exit 0 ;; esac
LAB=$(kept_lab)
{ read -r HOLDFAST_BIN && read -r HOLDFAST_MACHINES; } <"$LAB/kept"
export HOLDFAST_BIN HOLDFAST_MACHINES

lab() { "$ROOT/deploy/lab.sh" "$@"; }
manager() { lab exec "$LAB" a "$HOLDFAST_BIN/manager" --config "$LAB/a/manager.toml" "$@"; }

page() {
    local port=8080 files relay
    if [ "${1:-}" = --port ]; then
        is_port "${2:-}" || STATUS=2 die "--port expects 1 to 65535"
        port=$2
        shift 2
    fi
    [ $# = 0 ] || STATUS=2 die "unknown argument $1; --help shows what there is"
    need curl:curl socat:socat
    files=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-look.XXXXXX")
    (relay "$files/relay" "$port" "$LAB" "$MANAGER" 2>"$files/log") &
    relay=$!
    # shellcheck disable=SC2064 # as they are now
    trap "end_tree $relay; rm -rf '$files'" EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    until curl -sf -o /dev/null -m 2 "http://127.0.0.1:$port/"; do
        kill -0 "$relay" 2>/dev/null || die "port $port cannot be used: $(cat "$files/log")"
        sleep 0.1
    done
    say "The status page of host a is at http://127.0.0.1:$port/; Ctrl-C ends this, and the cluster runs on"
    wait "$relay"
}

# The events from the one of the fault on are what came of it.
kill_machine() {
    local machine=${1:-} before
    [ -n "$machine" ] || STATUS=2 die "kill expects a machine; there are: $(machines)"
    [[ " $(machines) " == *" $machine "* ]] || STATUS=2 die "there is no machine '$machine'; there are: $(machines)"
    before=$(manager events | wc -l)
    lab fault "$LAB" kill "$machine" >/dev/null
    say "The power of $machine was cut"
    until manager events | tail -n "+$((before + 1))" | grep -q "$machine.*[Rr]eady"; do
        PATIENCE=$((PATIENCE - 1))
        [ "$PATIENCE" -gt 0 ] || die "$machine is not back: $(manager status)"
        sleep 1
    done
    manager events | tail -n "+$((before + 1))"
    lab wait "$LAB" "$PATIENCE"
    manager status
}

machines() { manager -o json status | grep -o '"[ab]-[a-z0-9-]*"' | tr -d '"' | sort -u | xargs; }

case $verb in
    page) page "$@" ;;
    kill) kill_machine "$@" ;;
    manager) manager "$@" ;;
    client) lab exec "$LAB" client "$@" ;;
    files) ls "$LAB"/[ab]/manager.log "$LAB"/[ab]/state/machines/*/console.log ;;
    *) STATUS=2 die "unknown: $verb; --help shows what there is" ;;
esac
