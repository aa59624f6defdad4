#!/usr/bin/env bash
# Starts Prometheus, with the rules of deploy/observe, on the cluster that `deploy/demo.sh --keep` left running; waits
# until everything of it was scraped, says what was found and where to look, and ends on Ctrl-C. The cluster runs on.
#
#   deploy/observe.sh [--port N] [--once] [LAB]
#
#   --port N   where it is shown on this machine, on 127.0.0.1 (9090)
#   --once     end when all was found, without waiting for Ctrl-C
#   LAB        the cluster's directory; without it the newest that a demo left running
#
# Prometheus runs in the demo's network; a relay on this machine leads to it. Nothing is kept of what it gathered.
# For real hosts see deploy/observe/README.md.
#
# Exit code: 0 all was found, 1 not, 2 bad arguments, 130 interrupted before.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

MANAGERS=(http://192.168.10.1:8080 http://192.168.10.2:8080)
INSIDE=127.0.0.1:9090
# What is not found by then is named, in seconds.
PATIENCE=120

PORT=9090 ONCE=0 LAB=''
while [ $# -gt 0 ]; do
    case $1 in
        --port)
            is_port "${2:-}" || STATUS=2 die "--port expects 1 to 65535"
            PORT=$2
            shift
            ;;
        --once) ONCE=1 ;;
        -h | --help) help_of "$0" && exit 0 ;;
        -*) STATUS=2 die "unknown argument $1; --help shows what there is" ;;
        *) LAB=$1 ;;
    esac
    shift
done

[ -n "$LAB" ] || LAB=$(kept_lab)
lab_runs "$LAB" || STATUS=2 die "no cluster runs in $LAB"
LAB=$(readlink -f "$LAB")

need_stopped prometheus:prometheus promtool:prometheus
need curl:curl socat:socat

client() { "$ROOT/deploy/lab.sh" exec "$LAB" client "$@"; }

DATA=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-observe.XXXXXX")
STARTED=()
# shellcheck disable=SC2317 # called by the trap
finish() {
    local status=$? pid
    trap '' INT TERM
    for pid in "${STARTED[@]}"; do end_tree "$pid"; done
    wait
    rm -rf "$DATA"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Starting Prometheus in the network of $LAB"
client prometheus --config.file="$ROOT/deploy/observe/prometheus.yml" --storage.tsdb.path="$DATA/tsdb" \
    --web.listen-address="$INSIDE" --web.external-url="http://127.0.0.1:$PORT/" >"$DATA/log" 2>&1 &
STARTED+=($!)
relay "$DATA/relay" "$PORT" "$LAB" "$INSIDE" 2>>"$DATA/log" &
STARTED+=($!)

ask() { promtool query instant "http://127.0.0.1:$PORT" "$1" 2>/dev/null; }
# The value of an expression that has one.
value() { ask "$1" | sed -n 's/.* => \([^ ]*\) @.*/\1/p'; }
# How many targets the first manager that answers names.
named() {
    local manager
    for manager in "${MANAGERS[@]}"; do
        client curl -sf -m 2 "$manager/sd" | grep -o '"targets"' | grep -c . && return 0
    done
    return 1
}
# Waits a moment for what is awaited since the last `begin`, as long as there is hope.
END=0
begin() { END=$((SECONDS + PATIENCE)); }
wait_for() {
    local pid
    for pid in "${STARTED[@]}"; do kill -0 "$pid" 2>/dev/null || die "it ended: $(tail -n 5 "$DATA/log")"; done
    [ $SECONDS -lt "$END" ] || die "not within $PATIENCE s: $1"
    sleep 0.5
}
answers() { curl -sf -m 2 "http://127.0.0.1:$PORT/-/ready" >/dev/null; }
all_scraped() {
    local wanted
    wanted=$(named) || return 1
    [ "$wanted" -gt 0 ] && [ "$(value 'count(up{job!="loadtest"})')" = "$wanted" ]
}
evaluated() { [ -n "$(value 'count(vip:manager_holders:max)')" ]; }

begin
until answers; do wait_for "Prometheus answers"; done
until all_scraped; do wait_for "every target is scraped"; done
until evaluated; do wait_for "the rules are evaluated"; done

# One line for each series of an expression: the labels named, then the value.
lines() {
    local expression=$1 label line row
    shift
    while read -r line; do
        [ -n "$line" ] || continue
        row=''
        for label in "$@"; do
            row+="$(sed -n "s/.*[{ ]$label=\"\\([^\"]*\\)\".*/\\1/p" <<<"$line") "
        done
        printf '  %s %s\n' "$row" "$(sed -n 's/.* => \([^ ]*\) @.*/\1/p' <<<"$line")"
    done < <(ask "$expression") | sed 's/   */  /g' | sort
}
say "Every target was scraped; 1 is up, 0 is down"
lines 'up{job!="loadtest"}' job host machine instance
say "Holders of each public address"
lines vip:manager_holders:max vip
alerts=$(lines 'ALERTS{alertstate="firing"}' alertname severity host machine)
if [ -n "$alerts" ]; then say "Alerts" && echo "$alerts"; else say "No alert fires"; fi
say "Look at http://127.0.0.1:$PORT/alerts, /targets and /graph; $ROOT/deploy/observe/grafana has the boards"
[ "$ONCE" = 0 ] || exit 0
say "Ctrl-C ends Prometheus; the cluster runs on"
wait -n "${STARTED[@]}" || true
die "it ended: $(tail -n 5 "$DATA/log")"
