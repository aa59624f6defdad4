#!/usr/bin/env bash
# The suite `vrrp` of deploy/bench.sh, which is how it is started: two balancers that share ROUTERS (50) virtual routers, each
# advertised every 100 ms, in network namespaces.
#
#   rest      the processor time of both speakers while one holds all addresses and the other listens
#   takeover  the holder's cable is cut: how long until the other has the first and the last of the addresses
#   handover  the holder ends in order: the same
#
# With one virtual router the same is measured, to tell what each further one costs.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=deploy/bench/common.sh
. "$ROOT/deploy/bench/common.sh"

ALL=(rest takeover handover)
ROUTERS=${ROUTERS:-50} SECONDS_OF=${SECONDS_OF:-20}

# With all routers, until the last address is there, in ms: 3 adverts missed and a skew of at most one of them are 400; an
# end in order is said on the wire.
declare -A BOUND=([takeover]=450 [handover]=100)
# All routers' speaker at rest, in percent of a core.
BOUND_CPU=10

PATIENCE=60

# --- inside: a segment with two balancers, in a namespace of processes and networks -------------------

inside() {
    local count=$1 host
    mount -t tmpfs tmpfs /run
    mkdir -p /run/netns
    ip link set lo up
    ip link add sw0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
    ip link set sw0 up
    for host in x y; do
        ip netns add $host
        ip link add eth0 netns $host type veth peer name port-$host
        ip link set port-$host master sw0 up
        ip -n $host link set lo up
        ip -n $host link set eth0 up
    done
    ip -n x address add 10.89.0.1/16 dev eth0
    ip -n y address add 10.89.0.2/16 dev eth0
    configure x 10.89.0.1 240 "$count"
    configure y 10.89.0.2 230 "$count"
    start x
    await "holding" holds x "$count"
    start y
    await "standing by" stands_by y "$count"
    for case in "${cases[@]}"; do "$case" "$count"; done
}

configure() {
    local host=$1 address=$2 priority=$3 count=$4 number
    mkdir -p "$DIR/$host"
    {
        printf 'machine = "%s"\naddress = "%s"\nstate_dir = "%s"\nworkers = 1\n' "$host" "$address" "$DIR/$host"
        for ((number = 1; number <= count; number++)); do
            printf '[[vip]]\naddress = "10.89.1.%d"\nvrid = %d\npriority = %d\nadvert_interval_ms = 100\n' "$number" "$number" "$priority"
        done
        printf '[[config.routes]]\nname = "all"\npool = "service"\n'
        printf '[upstreams]\nservice = [{ id = "u-1", address = "%s", port = 9 }]\n' "$address"
    } >"$DIR/$host.toml"
}

# The process that was started on each of the hosts.
RUN_x='' RUN_y=''

start() {
    ip netns exec "$1" "$HOLDFAST_BIN/lb" run --config "$DIR/$1.toml" >"$DIR/$1.log" 2>&1 &
    printf -v "RUN_$1" %s $!
}

# Its speaker; `run` is the parent.
speaker_of() { pgrep -f "lb vip .*$DIR/$1.toml"; }

held_by() { ip -n "$1" -4 -o address show dev eth0 | grep -c ' 10\.89\.1\.' || true; }
holds() { [ "$(held_by "$1")" = "$2" ]; }

# shellcheck disable=SC2317 # called by await
stands_by() { [ "$(ip netns exec "$1" curl -sf -m 1 "http://10.89.0.2:8080/vip" | grep -o '"state":"backup"' | wc -l)" = "$2" ]; }

# shellcheck disable=SC2317 # called by await
keep_logs() { tail -n 5 "$DIR"/*.log; }

cpu_ms() { awk '{ sub(/.*\) /, ""); print ($12 + $13) * 10 }' "/proc/$1/stat"; }

result() { printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$RESULTS"; }

rest() {
    local x y before_x before_y
    x=$(speaker_of x) y=$(speaker_of y)
    before_x=$(cpu_ms "$x") before_y=$(cpu_ms "$y")
    sleep "$SECONDS_OF"
    percent() { awk -v ms="$1" -v s="$SECONDS_OF" 'BEGIN { printf "%.2f", ms / s / 10 }'; }
    result rest "$1" holder_cpu_percent % "$(percent $(($(cpu_ms "$x") - before_x)))"
    result rest "$1" standby_cpu_percent % "$(percent $(($(cpu_ms "$y") - before_y)))"
    result rest "$1" holder_rss_kb KiB "$(awk '$1 == "VmRSS:" { print $2 }' "/proc/$x/status")"
    [ "$(held_by y)" = 0 ] || STATUS=3 die "an address moved while nothing happened"
}

# moved CASE COUNT COMMAND… notes when the addresses came to y after the command was begun.
moved() {
    local case=$1 count=$2 began monitor
    shift 2
    ip -n y -ts monitor address >"$DIR/moves" &
    monitor=$!
    # It has to listen before something happens.
    await "the monitor" listens_to_addresses "$monitor"
    began=$(date +%s%N)
    "$@"
    await "the addresses" holds y "$count"
    kill "$monitor"
    wait "$monitor" 2>/dev/null || true
    # Of each pair of lines the first says when.
    awk -v began="$began" '/^\[/ { split(substr($1, 2), t, /[T:.\]-]/); stamp = substr($1, 2, length($1) - 2) }
        / 10\.89\.1\./ && !/^Deleted|\]Deleted/ { print stamp }' "$DIR/moves" | sed 's/^\[//' | while read -r stamp; do
        date -d "$stamp" +%s%N
    done | sort -n | awk -v began="$began" '{ v[NR] = ($1 - began) / 1e6 } END { if (NR) printf "%.1f %.1f %d\n", v[1], v[NR], NR }' >"$DIR/moved"
    local first last number
    read -r first last number <"$DIR/moved"
    [ "$number" = "$count" ] || STATUS=3 die "saw $number of $count addresses come: $(head -n 3 "$DIR/moves")"
    result "$case" "$count" first_ms ms "$first"
    result "$case" "$count" last_ms ms "$last"
}

# shellcheck disable=SC2317 # called by await
listens_to_addresses() { awk -v pid="$1" '$3 == pid && $4 != "00000000" { found = 1 } END { exit !found }' "/proc/$1/net/netlink"; }

takeover() {
    moved takeover "$1" ip link set port-x down
    # It finds out by itself: what comes next begins with it holding all again.
    ip link set port-x up
    kill -KILL "$RUN_y"
    kill -KILL "$(speaker_of y)" 2>/dev/null || true
    await "the end of y" gone y
    ip -n y address flush dev eth0 scope global
    ip -n y address add 10.89.0.2/16 dev eth0
    await "holding again" holds x "$1"
    start y
    await "standing by" stands_by y "$1"
}

# shellcheck disable=SC2317 # called by await
gone() { ! pgrep -f "lb [a-z]* .*$DIR/$1.toml" >/dev/null; }

handover() { moved handover "$1" kill -TERM "$RUN_x"; }

# --- figures -----------------------------------------------------------------------------------------

# table prints what was measured and leaves the figures in FIGURES; 1 is for a bound that was missed.
table() {
    sort -s -t $'\t' -k1,3 "$RESULTS" | awk -F'\t' -v figures="$FIGURES" -v routers="$ROUTERS" -v cpu="$BOUND_CPU" \
        -v takeover="${BOUND[takeover]}" -v handover="${BOUND[handover]}" '
        function bound_of() {
            if (key[2] != routers) return 0
            if (key[1] == "rest" && key[3] ~ /cpu/) return cpu
            if (key[3] == "last_ms") return key[1] == "takeover" ? takeover : handover
            return 0
        }
        function put(    i, j, swap, verdict, bound) {
            for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { swap = v[j]; v[j] = v[j - 1]; v[j - 1] = swap }
            median = n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
            printf "{\"suite\": \"vrrp\", \"case\": \"%s\", \"subject\": \"%s\", \"metric\": \"%s\", \"unit\": \"%s\", \"median\": %s, \"min\": %s, \"max\": %s, \"n\": %d}\n",
                key[1], key[2], key[3], unit, median, v[1], v[n], n >>figures
            verdict = ""
            if (bound = bound_of()) { verdict = "at most " bound ": " (median > bound ? "MISSED" : "met"); if (median > bound) missed = 1 }
            printf "%-9s %3s routers  %-20s %9.2f %s (%.2f to %.2f)  %s\n", key[1], key[2], key[3], median, unit, v[1], v[n], verdict
        }
        { now = $1 FS $2 FS $3 }
        now != last { if (n) put(); n = 0; last = now; split(now, key, FS); unit = $4 }
        { v[++n] = $5 + 0 }
        END { put(); exit missed }'
}

# --- all of it ---------------------------------------------------------------------------------------

if [ "${1:-}" = inside ]; then
    read -r -a cases <<<"$CASES"
    inside "$2"
    exit
fi
choose_cases "${ALL[@]}"
need_lab
need curl:curl pgrep:procps
[ -x "$HOLDFAST_BIN/lb" ] || STATUS=3 die "there is no lb in $HOLDFAST_BIN"

MEASURED=0
DIR=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-bench-$(id -u).XXXXXX")
RESULTS=$DIR/results
export DIR RESULTS ROUTERS SECONDS_OF CASES="${cases[*]}"
trap 'leave_suite "$DIR"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "$ROUTERS virtual routers, on $(nproc) processors, $ROUNDS rounds"
user=()
[ "$(id -u)" = 0 ] || user=(--user --map-root-user)
for ((round = 1; round <= ROUNDS; round++)); do
    say "Round $round of $ROUNDS"
    for count in 1 "$ROUTERS"; do
        # When its first process ends, the kernel takes all of it away.
        unshare "${user[@]}" --mount --net --pid --fork --kill-child --mount-proc \
            bash "${BASH_SOURCE[0]}" inside "$count" || STATUS=3 die "the balancers failed: $(keep_logs)"
        rm -rf "${DIR:?}/x" "${DIR:?}/y"
    done
done
MEASURED=1
table
