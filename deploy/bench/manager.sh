#!/usr/bin/env bash
# The suite `manager` of deploy/bench.sh, which is how it is started: what a manager costs that keeps 200 namespace
# machines on one host.
#
#   rest     nothing happens but heartbeats
#   deaths   every half second a machine is killed, and rebuilt
#   watchers events come as fast as they can be made, and nobody, or 500 watch them, or as many that do not read
#
# Time is the processor time of the manager's process, memory what it has resident. MACHINES is how many machines
# there are, SECONDS_OF how long each case is measured, WATCHERS how many watch.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=deploy/bench/common.sh
. "$ROOT/deploy/bench/common.sh"

ALL=(rest deaths watchers)
MACHINES=${MACHINES:-200} WATCHERS=${WATCHERS:-500} SECONDS_OF=${SECONDS_OF:-30}
API=10.88.0.1 ADDRESSES=16

# At rest: a share of one core in percent, and memory in KiB.
BOUND_CPU=5 BOUND_RSS=61440

# So long may it take until all machines are ready, in seconds.
PATIENCE=300

# --- inside: one host, which is a process namespace with a network of its own -------------------------

# What the first process of the host does: it leaves lines of `case, subject, metric, unit, value` in RESULTS.
inside() {
    local dir=$1
    ip link set lo up
    ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
    ip link set br0 up
    ip address add "$API/16" dev br0
    # Watchers come from many: no single one may have as many connections.
    local last
    for ((last = 1; last <= ADDRESSES; last++)); do ip address add "10.88.0.$((100 + last))/16" dev br0; done
    mkdir -p "$dir/state"
    cat >"$dir/manager.toml" <<-END
	name = "a"
	address = "$API"
	prefix = 16
	gateway = "$API"
	hypervisor = "namespaces"
	bridge = "br0"
	state_dir = "$dir/state"
	programs = "$HOLDFAST_BIN"
	address_pool = ["10.88.1.0-10.88.16.255"]
	[[vip]]
	address = "10.88.0.250"
	vrid = 50
	role = "master"
	[[service]]
	name = "stateless"
	replicas = $((MACHINES - 1))
	END
    "$HOLDFAST_BIN/manager" --config "$dir/manager.toml" run >"$dir/manager.log" 2>&1 &
    MANAGER=$!
    await "$MACHINES machines" is_whole
    sleep 5
    for case in "${cases[@]}"; do "$case" "$dir"; done
}

is_whole() { [[ $(curl -sf -m 5 "http://$API:8080/cluster") == *'"whole":true'* ]]; }

# shellcheck disable=SC2317 # called by await
keep_logs() { echo "$DIR, until this ends: $(tail -n 3 "$DIR/manager.log")"; }

# The processor time of the manager so far, in milliseconds.
cpu_ms() { awk '{ sub(/.*\) /, ""); print ($12 + $13) * 10 }' "/proc/$MANAGER/stat"; }

memory() { awk -v key="$1:" '$1 == key { print $2 }' "/proc/$MANAGER/status"; }

result() { printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$RESULTS"; }

# measured CASE SUBJECT COMMAND… notes what the manager uses while the command runs.
measured() {
    local case=$1 subject=$2 before began
    shift 2
    began=$(date +%s%N) before=$(cpu_ms)
    "$@"
    result "$case" "$subject" cpu_percent % "$(awk -v ms=$(($(cpu_ms) - before)) -v ns=$(($(date +%s%N) - began)) \
        'BEGIN { printf "%.2f", ms / (ns / 1e6) * 100 }')"
    result "$case" "$subject" rss_kb KiB "$(memory VmRSS)"
}

rest() {
    measured rest manager sleep "$SECONDS_OF"
    result rest manager threads count "$(memory Threads)"
}

deaths() {
    DEATHS=0
    measured deaths manager kill_some
    await "all machines again" is_whole
    result deaths manager rss_peak_kb KiB "$(memory VmHWM)"
    result deaths manager killed count "$DEATHS"
}

# Each machine dies at most once, so that none of them counts as crash-looping.
kill_some() {
    local end=$((SECONDS + SECONDS_OF)) number=1 pid
    while [ $SECONDS -lt "$end" ] && [ "$number" -lt "$MACHINES" ]; do
        pid=$(pgrep -f "namespace-machine init --directory $DIR/state/machines/a-stateless-$number ") || true
        if [ -n "$pid" ] && kill -KILL "$pid"; then DEATHS=$((DEATHS + 1)); fi
        number=$((number + 1))
        sleep 0.5
    done
}

# The same events with nobody, with watchers, and with watchers that do not read.
watchers() {
    local subject options before after base='' out=$DIR/watch events
    for subject in nobody watchers silent; do
        case $subject in
            nobody) options=(--watchers 1) ;;
            watchers) options=(--watchers "$WATCHERS") ;;
            silent) options=(--watchers 1 --silent "$WATCHERS") ;;
        esac
        before=$(memory VmRSS)
        "$HOLDFAST_BIN/bench" watch "$API:8080" /events "${options[@]}" --from 10.88.0.101 --addresses "$ADDRESSES" --seconds "$SECONDS_OF" >"$out" &
        await "the watchers" grep -q '^open' "$out"
        local began
        began=$(cpu_ms)
        make_events $((SECONDS_OF - 3))
        after=$(($(cpu_ms) - began))
        wait $! || return 3
        events=$(awk '$1 == "events" { print $2 }' "$out")
        result watchers "$subject" events count "$events"
        result watchers "$subject" rss_kb KiB "$(memory VmRSS)"
        result watchers "$subject" rss_kb_more KiB $(($(memory VmRSS) - before))
        result watchers "$subject" cpu_us_per_event us "$(awk -v ms="$after" -v n="$events" 'BEGIN { printf "%.1f", n ? ms * 1000 / n : 0 }')"
        case $subject in
            nobody) base=$(awk -v ms="$after" -v n="$events" 'BEGIN { print n ? ms * 1000 / n : 0 }') ;;
            watchers)
                # Everybody is told the same.
                [ "$(awk '$1 == "least" { print $2 }' "$out")" = "$(awk '$1 == "most" { print $2 }' "$out")" ] \
                    || STATUS=3 die "not all watchers were told the same: $(tr '\n' ' ' <"$out")"
                result watchers "$subject" cpu_us_per_event_and_watcher us "$(awk -v ms="$after" -v n="$events" -v base="$base" \
                    -v watchers="$WATCHERS" 'BEGIN { printf "%.2f", (ms * 1000 / n - base) / watchers }')"
                ;;
        esac
    done
    order_maintenance '{"on": false}'
}

order_maintenance() {
    curl -sf -m 5 -X PUT -H 'Content-Type: application/json' -d "$1" "http://$API:8080/maintenance" >/dev/null
}

# An event each: that maintenance is on, again.
make_events() {
    local end=$((SECONDS + $1))
    while [ $SECONDS -lt "$end" ]; do order_maintenance '{"on": true}'; done
}

# --- figures -----------------------------------------------------------------------------------------

# table prints what was measured and leaves the figures in FIGURES; 1 is for a bound that was missed.
table() {
    sort -s -t $'\t' -k1,3 "$RESULTS" | awk -F'\t' -v figures="$FIGURES" -v cpu="$BOUND_CPU" -v rss="$BOUND_RSS" '
        function put(    i, j, swap, verdict) {
            for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { swap = v[j]; v[j] = v[j - 1]; v[j - 1] = swap }
            median = n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
            printf "{\"suite\": \"manager\", \"case\": \"%s\", \"subject\": \"%s\", \"metric\": \"%s\", \"unit\": \"%s\", \"median\": %s, \"min\": %s, \"max\": %s, \"n\": %d}\n",
                key[1], key[2], key[3], unit, median, v[1], v[n], n >>figures
            verdict = ""
            bound = key[1] == "rest" && key[3] == "cpu_percent" ? cpu : key[1] == "rest" && key[3] == "rss_kb" ? rss : 0
            if (bound) { verdict = "at most " bound ": " (median > bound ? "MISSED" : "met"); if (median > bound) missed = 1 }
            printf "%-9s %-9s %-29s %12.2f %s (%.2f to %.2f)  %s\n", key[1], key[2], key[3], median, unit, v[1], v[n], verdict
        }
        { now = $1 FS $2 FS $3 }
        now != last { if (n) put(); n = 0; last = now; split(now, key, FS); unit = $4 }
        { v[++n] = $5 + 0 }
        END { put(); exit missed }'
}

# --- all of it ---------------------------------------------------------------------------------------

if [ "${1:-}" = inside ]; then
    read -r -a cases <<<"$CASES"
    DIR=$2
    inside "$DIR"
    exit
fi
choose_cases "${ALL[@]}"
need_lab
need curl:curl pgrep:procps
for program in lb manager stateless bench; do
    [ -x "$HOLDFAST_BIN/$program" ] || STATUS=3 die "there is no $program in $HOLDFAST_BIN"
done

MEASURED=0
DIR=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-bench-$(id -u).XXXXXX")
RESULTS=$DIR/results
export RESULTS MACHINES WATCHERS SECONDS_OF CASES="${cases[*]}"
trap 'leave_suite "$DIR"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "$MACHINES machines on one host, on $(nproc) processors, $ROUNDS rounds of $SECONDS_OF s for each case"
user=()
[ "$(id -u)" = 0 ] || user=(--user --map-root-user)
for ((round = 1; round <= ROUNDS; round++)); do
    say "Round $round of $ROUNDS"
    # When its first process ends, the kernel takes all of the host away.
    unshare "${user[@]}" --mount --net --pid --fork --kill-child --mount-proc \
        bash "${BASH_SOURCE[0]}" inside "$DIR" || STATUS=3 die "the host failed: $(tail -n 5 "$DIR/manager.log")"
    rm -rf "$DIR/state"
done
MEASURED=1
table
