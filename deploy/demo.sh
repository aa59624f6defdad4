#!/usr/bin/env bash
# Shows the whole system on one machine: builds it, starts two hosts with their managers in network
# namespaces, sends requests to the public address, and meanwhile kills things.
#
#   deploy/demo.sh [--rate N] [--seconds N] [--json FILE] [--keep] [--clean] [--yes]
#
#   --rate N       requests per second (500)
#   --seconds N    how long at least (60)
#   --json FILE    also write the report as JSON
#   --keep         leave the cluster running afterwards and say how to look around
#   --clean        end clusters that --keep left running, sweep up after killed demos, and nothing else
#   --yes          do not ask before installing Rust
#
# Exit code: 0 all was well, 1 not, 2 bad arguments, 3 the measurement is invalid, 130 interrupted.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VIP=192.168.10.120
MANAGERS=(--manager http://192.168.10.1:8080 --manager http://192.168.10.2:8080)
MIN_AVAILABILITY=99
LABS=${TMPDIR:-/tmp}/holdfast-demo-$(id -u)

RATE=500 DURATION=60 JSON='' KEEP=0 CLEAN=0 YES=0
number() { case $2 in '' | *[!0-9]* | 0*) STATUS=2 die "$1 expects a whole number above 0, not '$2'" ;; esac; }
while [ $# -gt 0 ]; do
    case $1 in
        --rate) number "$1" "${2:-}" && RATE=$2 && shift ;;
        --seconds) number "$1" "${2:-}" && DURATION=$2 && shift ;;
        --json) JSON=${2:-} && shift ;;
        --keep) KEEP=1 ;;
        --clean) CLEAN=1 ;;
        --yes) YES=1 ;;
        -h | --help) help_of "$0" && exit 0 ;;
        *) STATUS=2 die "unknown argument $1; --help shows what there is" ;;
    esac
    shift || STATUS=2 die "--json expects a file"
done
export YES

if [ "$CLEAN" = 1 ]; then
    for lab in "$LABS".*; do
        [ -d "$lab" ] || continue
        # A demo that runs has a living lab that is not to be kept.
        if [ ! -e "$lab/kept" ] && kill -0 "$(cat "$lab/outer.pid")" 2>/dev/null; then continue; fi
        "$ROOT/deploy/lab.sh" down "$lab"
        rm -rf "$lab"
        say "Ended the cluster in $lab"
    done
    exit 0
fi
if [ -n "$JSON" ]; then
    { : >>"$JSON"; } 2>/dev/null || STATUS=2 die "cannot write $JSON"
    JSON=$(readlink -f "$JSON")
fi

say "This builds Holdfast and runs a two-host cluster in network namespaces of this machine."
say "None of its real interfaces, addresses or firewall rules is touched; all traffic stays inside."
need_build
need_lab
say "Building"
cd "$ROOT"
cargo build --release --locked --quiet
HOLDFAST_BIN=$(target_directory)/release
export HOLDFAST_BIN

LAB=$(mktemp -d "$LABS.XXXXXX")
# shellcheck disable=SC2317 # called by the trap
finish() {
    local status=$?
    trap '' INT TERM
    if [ ! -e "$LAB/kept" ]; then
        deploy/lab.sh down "$LAB" || true
        rm -rf "$LAB"
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Starting two hosts"
if [ "$KEEP" = 1 ]; then
    setsid deploy/lab.sh up "$LAB" keep </dev/null >"$LAB/lab.log" 2>&1 &
else
    # The lab ends with this descriptor, and so with this script, whatever happens to it.
    exec 9> >(exec setsid deploy/lab.sh up "$LAB" >"$LAB/lab.log" 2>&1)
fi
for _ in $(seq 200); do
    [ ! -e "$LAB/up" ] || break
    sleep 0.1
done
[ -e "$LAB/up" ] || die "the hosts cannot be started: $(cat "$LAB/lab.log")"
client() { deploy/lab.sh exec "$LAB" client "$@" 9>&-; }
deploy/lab.sh wait "$LAB" 30 9>&-
client "$HOLDFAST_BIN/manager" "${MANAGERS[@]:0:2}" status

say "Sending $RATE requests a second to http://$VIP/random/number, half on new connections, and killing things"
faults=() pause=@5s
for fault in kill-stateless freeze-stateless kill-manager kill-lb kill-host; do
    faults+=(--fault "exec:$ROOT/deploy/lab.sh fault $LAB $fault $pause")
    pause=@+6s
done
status=0
client "$HOLDFAST_BIN/loadtest" "http://$VIP/random/number" --rate "$RATE" --duration "${DURATION}s" --timeout 2s \
    --min-availability "$MIN_AVAILABILITY" "${MANAGERS[@]}" "${faults[@]}" ${JSON:+--json "$JSON"} || status=$?

client "$HOLDFAST_BIN/manager" "${MANAGERS[@]:0:2}" status

if [ "$KEEP" = 1 ]; then
    touch "$LAB/kept"
    cat <<EOF

The cluster runs on. Look around:
  deploy/lab.sh exec $LAB client curl -s http://$VIP/random/number
  deploy/lab.sh exec $LAB a $HOLDFAST_BIN/manager --manager http://192.168.10.1:8080 status
  deploy/lab.sh exec $LAB a $HOLDFAST_BIN/manager --manager http://192.168.10.1:8080 events
  deploy/lab.sh fault $LAB kill-lb
  less $LAB/a/manager.log
End it:
  deploy/demo.sh --clean
EOF
fi
exit "$status"
