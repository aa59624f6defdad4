#!/usr/bin/env bash
# Shows the whole system on one machine: builds it, starts two hosts with their managers in network
# namespaces, sends requests to the public address, and meanwhile kills things.
#
#   deploy/demo.sh [--vms] [--rate N] [--seconds N] [--json FILE] [--keep] [--clean] [--yes]
#
#   --vms          the machines are real virtual machines, made by a libvirt daemon on each host; needs
#                  root. Without it they are namespaces, which start in milliseconds
#   --rate N       requests per second (500; 40 with --vms, where every processor may be an emulated one)
#   --seconds N    how long at least (60; 120 with --vms)
#   --json FILE    also write the report as JSON
#   --keep         leave the cluster running afterwards and say how to look around
#   --clean        end clusters that --keep left running, sweep up after killed demos, and nothing else
#   --yes          do not ask before installing Rust, and let --vms put a newer qemu-utils back to the
#                  distribution's own version where that blocks QEMU
#
# HOLDFAST_BIN is a directory with the programs: then nothing is built.
# HOLDFAST_IMAGE_BASE=alpine makes the images for --vms of Alpine instead of its stand-in, if Alpine's
# mirror can be reached.
#
# Exit code: 0 all was well, 1 not, 2 bad arguments, 3 the measurement is invalid, 130 interrupted.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VIP=192.168.10.120
MANAGERS=(--manager http://192.168.10.1:8080 --manager http://192.168.10.2:8080)
MIN_AVAILABILITY=99
LABS=$(demo_labs)

VMS=0 RATE='' DURATION='' JSON='' KEEP=0 CLEAN=0 YES=0
number() { case $2 in '' | *[!0-9]* | 0*) STATUS=2 die "$1 expects a whole number above 0, not '$2'" ;; esac; }
while [ $# -gt 0 ]; do
    case $1 in
        --vms) VMS=1 ;;
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
if [ "$VMS" = 1 ]; then
    HOLDFAST_MACHINES=vms RATE=${RATE:-40} DURATION=${DURATION:-120}
    # A machine boots for seconds, and a lost host boots all of its own at once.
    WHOLE=120 FIRST=10s PAUSE=10s RECOVERY=90s
else
    HOLDFAST_MACHINES=namespaces RATE=${RATE:-500} DURATION=${DURATION:-60}
    WHOLE=30 FIRST=5s PAUSE=6s RECOVERY=60s
fi
export HOLDFAST_MACHINES

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
[ "$VMS" = 0 ] || say "The machines are real virtual machines; no libvirt of this machine is touched."
[ "$VMS" = 0 ] || need_vms
[ -n "${HOLDFAST_BIN:-}" ] || need_build
need_lab
cd "$ROOT"
if [ -z "${HOLDFAST_BIN:-}" ]; then
    say "Building"
    cargo build --release --locked --quiet
    HOLDFAST_BIN=$(target_directory)/release
fi
HOLDFAST_BIN=$(readlink -f "$HOLDFAST_BIN")
export HOLDFAST_BIN
[ "$VMS" = 0 ] || build_images

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

say "Starting two hosts: \`manager init\` on the first, \`manager join\` on the second"
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
deploy/lab.sh wait "$LAB" "$WHOLE" 9>&-
client "$HOLDFAST_BIN/manager" "${MANAGERS[@]:0:2}" status

# What the machines are: the measurement means little without it.
machines() {
    local image kind='emulated, without KVM'
    if [ "$VMS" = 0 ]; then
        echo "namespaces of this kernel"
        return 0
    fi
    case $(deploy/lab.sh exec "$LAB" a virsh -q dumpxml a-lb 9>&-) in *"<domain type='kvm'"*) kind='with KVM' ;; esac
    image=$(sed -n 's/.*"distribution": *"\([^"]*\)".*/\1/p' "$HOLDFAST_IMAGES/lb/image.json")
    echo "libvirt $(/usr/sbin/libvirtd --version | sed 's/.* //'), $(qemu-system-x86_64 --version \
        | sed -n 's/^QEMU emulator version \([0-9.]*\).*/QEMU \1/p') ($kind), ${image:-unknown image}"
}
say "Machines: $(machines)"
say "Sending $RATE requests a second to http://$VIP/random/number, half on new connections, and killing things"
faults=() pause=@$FIRST
for fault in kill-stateless freeze-stateless kill-manager kill-lb kill-host; do
    faults+=(--fault "exec:$ROOT/deploy/lab.sh fault $LAB $fault $pause")
    pause=@+$PAUSE
done
status=0
client "$HOLDFAST_BIN/loadtest" "http://$VIP/random/number" --rate "$RATE" --duration "${DURATION}s" --timeout 2s \
    --min-availability "$MIN_AVAILABILITY" --fault-timeout "$RECOVERY" "${MANAGERS[@]}" "${faults[@]}" ${JSON:+--json "$JSON"} || status=$?

client "$HOLDFAST_BIN/manager" "${MANAGERS[@]:0:2}" status

if [ "$KEEP" = 1 ]; then
    # What deploy/look.sh has to know.
    printf '%s\n' "$HOLDFAST_BIN" "$HOLDFAST_MACHINES" >"$LAB/kept"
    cat <<EOF

The cluster runs on. Look around:
  bash deploy/look.sh page                   its status page, for a browser
  bash deploy/look.sh kill a-stateless-1     the power cut of a machine
  bash deploy/look.sh manager status         any command of the manager; also on the client: look.sh client curl …
  bash deploy/look.sh files                  where its logs are
  bash deploy/observe.sh                     Prometheus, with rules and alerts
End it:
  bash deploy/demo.sh --clean
EOF
fi
exit "$status"
