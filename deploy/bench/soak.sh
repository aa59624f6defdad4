#!/usr/bin/env bash
# The suite `soak` of deploy/bench.sh, which is how it is started: two balancers that share an address, in
# front of four backends, in network namespaces, and for MINUTES minutes at random everything that happens to
# them in years: backends die, freeze and vanish, sets and configurations are swapped, the address is handed
# over, a balancer is restarted, and clients are slow or leave. soak-tracks.sh says what and how.
#
# Beside it 200 GETs and 97 POSTs a second are sent on schedule. A request that failed is explained only by a
# fault of a backend that was under way while it was, and only if
#
#   a POST             was refused in so many words (502 or 504): it had been sent, so it may not be repeated
#   a long answer      broke off, and the backend that gave it is the one with the fault
#   a slow request     was refused or broke off: what has begun to stream cannot be repeated either
#
# and by a hand-over only if a slow client ended while it was under way or soon after, and no more of them than the
# balancer itself says it had to cut then.
#
# Everything else is unexplained: any GET of the load that fails, any POST executed twice, a client that is
# never answered. Before and after, nothing is sent until no connection is left, and the first balancer, which
# lives all the time, is looked at: it may keep no more memory and descriptors than it had.
#
# SOAK_SEED does again what was done with that seed.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=deploy/bench/stage.sh
. "$ROOT/deploy/bench/stage.sh"
# shellcheck source=deploy/bench/soak-tracks.sh
. "$ROOT/deploy/bench/soak-tracks.sh"

SELF=$(readlink -f "${BASH_SOURCE[0]}")
MINUTES=${MINUTES:-10}
BALANCERS=(10.88.0.2 10.88.0.3)
VIP=10.88.0.100

# How long there is load before, and how many rounds of all clients beside it, more than there are later, so that
# the balancers are as large as they become; and how long the load goes on after the last act.
WARM=20
CROWD=8
AFTER=5
# A fault may be felt for so long after its end: the connections from before it are still there.
GRACE_MS=1000
# A slow client notices so late that its connection was cut: it has read first what had come before.
CUT_GRACE_MS=5000
# What memory the first balancer may have more in the end, for what the allocator keeps: a share and a base …
RSS_PERCENT=10
RSS_KIB=4096
# … and how many descriptors.
DESCRIPTORS=4

[ "${CASES:-}" = '' ] || STATUS=2 die "the suite soak has no cases"
if [ "${1:-}" != inside ]; then
    SEED=${SOAK_SEED:-$RANDOM}
    case $SEED in *[!0-9]*) STATUS=2 die "SOAK_SEED is a number, not '$SEED'" ;; esac
    export SEED
    enter_stage "$SELF"
fi

# --- balancers -------------------------------------------------------------------------------------------

start_balancer() {
    printf 'machine = "lb%s"\naddress = "%s"\nlisten = "0.0.0.0:8000"\ninterface = "eth0"\nmanagers = ["%s"]\nstate_dir = "%s"\n[[vip]]\naddress = "%s"\nvrid = 50\npriority = %s\n' \
        "$1" "${BALANCERS[$1 - 1]}" "$STAGE" "/run/lb$1" "$VIP" $((250 - 10 * $1)) >"$DIR/lb$1.toml"
    in_host "lb$1" "$HOLDFAST_BIN/lb" run --config "$DIR/lb$1.toml" >>"$DIR/lb$1.log" 2>&1 &
    echo $! >"$DIR/lb$1.pid"
}

# processes_of NUMBER prints the ids of a balancer's processes: supervisor, proxy and speaker.
processes_of() {
    local first
    first=$(cat "$DIR/lb$1.pid")
    echo "$first" && tr ' ' '\n' <"/proc/$first/task/$first/children"
}

rss_of() {
    local process sum=0
    for process in $(processes_of "$1"); do
        sum=$((sum + $(awk '$1 == "VmRSS:" { print $2 }' "/proc/$process/status")))
    done
    echo "$sum"
}

descriptors_of() {
    local process sum=0
    for process in $(processes_of "$1"); do sum=$((sum + $(find "/proc/$process/fd" -type l | wc -l))); done
    echo "$sum"
}

# Those that it holds. What is closed and only waits for the other side is the kernel's.
connections_of() {
    ip netns exec "lb$1" ss -Htn state connected exclude time-wait exclude fin-wait-1 exclude fin-wait-2 \
        exclude last-ack exclude closing | wc -l
}

# shellcheck disable=SC2317 # called by await
is_idle() { [ "$(connections_of 1)" = 0 ] && [ "$(connections_of 2)" = 0 ]; }

# Leaves in DIR/memory what the first balancer has while it is at work, ten times in all.
watch_memory() {
    local number
    for number in 1 2 3 4 5 6 7 8 9 10; do
        sleep $((LENGTH_MS / 10000))
        echo "$number: $(rss_of 1) $(descriptors_of 1)" >>"$DIR/memory"
    done
}

# --- the load --------------------------------------------------------------------------------------------

# loads NAME SECONDS. A POST has longer than the balancer gives it (30 s): it has to be told what became of it.
loads() {
    local running=()
    load "$1-get" "http://$VIP:8000/random/number" --rate 200 --duration "$2s" --timeout 2s & running+=($!)
    load "$1-post" "http://$VIP:8000/count" --post --rate 97 --duration "$2s" --timeout 35s & running+=($!)
    wait "${running[@]}"
}

# --- what came of it -------------------------------------------------------------------------------------

# judge prints a line for each failure: what, why (or -), and when it was sent. Faults are those of backends.
judge() {
    {
        awk '$3 ~ /^(kill|destroy|freeze|blackhole)$/ { print "fault", $1, $2, $3, $4 }' "$DIR/acts"
        awk '{ print "handed", $2, $3, $4 }' "$DIR/handed"
        failures run-get | sed 's/^/failure get - /'
        failures run-post | sed 's/^/failure post - /'
        awk '$4 != "well" { print "failure", $3, $5, $1, $2, $4 }' "$DIR/clients"
    } | awk -v grace=$GRACE_MS -v cut_grace=$CUT_GRACE_MS '
        $1 == "fault" { n++; begun[n] = $2; ended[n] = $3 + grace; what[n] = $4; whom[n] = $5; next }
        $1 == "handed" { h++; cut[h] = $2; entered[h] = $3; left[h] = $4 + cut_grace; next }
        {
            kind = $2; served = $3; from = $4; to = $5; how = $6; why = "-"
            if (kind == "post") may = how == "http-502" || how == "http-504"
            else may = (kind == "reader" && served != "-") || (kind == "sender" && how !~ /^(28|0:4|0:503)/)
            for (i = 1; may && i <= n; i++)
                if (from <= ended[i] && to >= begun[i] && (kind != "reader" || served == whom[i])) why = what[i]
            slow = kind == "reader" || kind == "sender" || kind == "half-head"
            for (i = 1; slow && why == "-" && i <= h; i++)
                if (cut[i] > 0 && to >= entered[i] && to <= left[i]) { why = "hand-over"; cut[i]-- }
            print kind, how, why, from
        }'
}

table() {
    local twice missed=0 rss_most unexplained
    judge >"$DIR/judged"
    twice=$(executed_twice)
    unexplained=$(awk '$3 == "-"' "$DIR/judged" | wc -l)
    printf '\n%s min with seed %s\n\n  acts\n' "$MINUTES" "$SEED"
    awk '{ n[$3]++ } END { for (act in n) printf "    %-20s %6d\n", act, n[act] }' "$DIR/acts" | sort
    printf '\n  requests\n'
    printf '    %-20s %6s of %s failed\n' GET "$(of run-get failed)" "$(of run-get intended)" \
        POST "$(of run-post failed)" "$(of run-post intended)"
    awk '{ n[$3]++; bad[$3] += $4 != "well" } END { for (k in n) printf "    %-20s %6d of %d failed\n", k, bad[k], n[k] }' \
        "$DIR/clients" | sort
    printf '    %-20s %6.1f ms\n' 'slowest GET' "$(latency run-get max)" 'p99 of GETs' "$(latency run-get p99)"
    printf '\n  failures and what explains them\n'
    awk '{ n[$1 " " $2 " " ($3 == "-" ? "UNEXPLAINED" : "by a " $3)]++ } END { for (k in n) printf "    %-50s %6d\n", k, n[k] }' \
        "$DIR/judged" | sort
    awk -v begun="$BEGUN" '$3 == "-" { printf "    unexplained: %s %s, sent at %.3f s\n", $1, $2, ($4 - begun) / 1000 }' \
        "$DIR/judged" | head -n 50
    printf '\n  hand-overs and the connections they cut: %s\n' "$(cut -d ' ' -f 1,2 "$DIR/handed" | sort | uniq -c | tr -s ' \n' ' ')"
    printf '\n  first balancer: %s KiB and %s descriptors before, %s KiB and %s after\n  second one: %s KiB and %s after\n' \
        "${BEFORE[@]}" "${THEN[@]}" "$(rss_of 2)" "$(descriptors_of 2)"
    printf '  the first one at work (KiB, descriptors):'
    sed 's/^[0-9]*:/,/' "$DIR/memory" | tr -d '\n' | sed 's/^,//'
    printf '\n\nBounds\n'
    rss_most=$((BEFORE[0] * (100 + RSS_PERCENT) / 100 + RSS_KIB))
    bound 'unexplained failures' "$unexplained" 0
    bound 'POSTs executed twice' "$twice" 0
    bound 'memory of the first balancer in the end, in KiB' "${THEN[0]}" "$rss_most"
    bound 'its descriptors in the end' "${THEN[1]}" $((BEFORE[1] + DESCRIPTORS))
    bound 'connections that were not closed' "$LEFT" 0
    result soak lb unexplained "$unexplained"
    result soak lb explained "$(awk '$3 != "-"' "$DIR/judged" | wc -l)"
    result soak lb posts_executed_twice "$twice"
    result soak lb rss_more $((THEN[0] - BEFORE[0]))
    result soak lb descriptors_more $((THEN[1] - BEFORE[1]))
    result soak lb connections_left "$LEFT"
    write_figure soak soak lb unexplained count
    write_figure soak soak lb explained count
    write_figure soak soak lb posts_executed_twice count
    write_figure soak soak lb rss_more KiB
    write_figure soak soak lb descriptors_more count
    write_figure soak soak lb connections_left count
    return "$missed"
}

# --- all of it -------------------------------------------------------------------------------------------

DIR=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-bench-soak.XXXXXX")
RESULTS=$DIR/results
RUNNING=()
touch "$RESULTS" "$DIR/acts" "$DIR/clients" "$DIR/handed"
LENGTH_MS=$((MINUTES * 60000))
make_network
add_host lb1 "${BALANCERS[0]}"
add_host lb2 "${BALANCERS[1]}"
make_plans "$SEED" $LENGTH_MS
say "$MINUTES min on $(nproc) processors; SOAK_SEED=$SEED does the same again; logs and plans are in $DIR"

# Each track starts what it ends, because a shell can wait only for what it has started.
mkfifo "$DIR/go-backends" "$DIR/go-control"
{ start_backends && touch "$DIR/backends-up" && read -r BEGUN <"$DIR/go-backends" && follow backends; } &
tracks=($!)
{
    start_balancer 1
    start_balancer 2
    touch "$DIR/balancers-up"
    read -r BEGUN <"$DIR/go-control" && push && configure 0 && follow control
} &
tracks+=($!)
await "the backends" test -e "$DIR/backends-up"
await "the balancers" test -e "$DIR/balancers-up"
for balancer in "${BALANCERS[@]}"; do
    await "the balancer $balancer" put "$balancer" /upstreams \
        "$(upstream_set 1 "$(upstream 1)" "$(upstream 2)" "$(upstream 3)" "$(upstream 4)")"
done
await "a holder" held
await "a standby" state_is $((3 - $(holder))) backup
await "the service" answers "$VIP:8000/random/number"

say "Warming up for $WARM s"
for ((i = 0; i < CROWD; i++)); do
    for kind in "${CLIENTS[@]}"; do client "$kind" & done
    # Not all in one moment: on few processors that alone would be a fault.
    sleep 0.3
done &
loads warm "$WARM"
PATIENCE=90
await "the end of all connections" is_idle
BEFORE=("$(rss_of 1)" "$(descriptors_of 1)")
: >"$DIR/clients"
for number in 1 2 3 4; do : >"$DIR/b$number.ids"; done

say "Now it begins"
BEGUN=$(now_ms)
echo "$BEGUN" >"$DIR/go-backends"
echo "$BEGUN" >"$DIR/go-control"
{ follow clients && wait; } &
tracks+=($!)
loads run $((LENGTH_MS / 1000 + AFTER)) &
tracks+=($!)
watch_memory &
tracks+=($!)
failed=0
for track in "${tracks[@]}"; do wait "$track" || failed=1; done
[ "$failed" = 0 ] || STATUS=3 die "a track ended before its time; logs and plans are in $DIR"
{ counts run-get && counts run-post; } || STATUS=3 die "the load does not count: $(tail -qn 1 "$DIR"/run-*.log | tr '\n' ' ')"
end=$((SECONDS + PATIENCE))
until is_idle || [ $SECONDS -ge $end ]; do sleep 0.5; done
LEFT=$(($(connections_of 1) + $(connections_of 2)))
THEN=("$(rss_of 1)" "$(descriptors_of 1)")
MEASURED=1
status=0
table || status=1
if [ "$status" = 0 ]; then rm -rf "$DIR"; else say "logs and plans are in $DIR"; fi
exit "$status"
