#!/usr/bin/env bash
# The suite `resilience` of deploy/bench.sh, which is how it is started: what clients of our balancer notice
# of four backends that live but are not as they should be, and of sets that come faster than any manager
# sends them. Beside each case there are 500 GETs a second, sent on schedule whether or not answers come.
#
#   stress     three times 50 requests at once that take 2 s each, on a route that usually takes 1 ms
#   all-gone   all backends are destroyed; new ones are pushed after 2 s
#   one-slow   every answer of one backend takes 500 ms longer, from one moment to the next
#   swaps      1,000 new sets a second for a minute, in which backends drain, leave and come back; beside them
#              100 POSTs and 10 requests of 1 s each a second, and the same before without new sets
#
# Each measurement has backends and a balancer of its own, in network namespaces.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=deploy/bench/stage.sh
. "$ROOT/deploy/bench/stage.sh"

SELF=$(readlink -f "${BASH_SOURCE[0]}")
ALL=(stress all-gone one-slow swaps)

# What is measured in each case, in what unit, and the most that its median may be.
METRICS=(
    'stress failed count 0'
    'stress ejections count 0'
    'stress executions_per_request ratio 1.1'
    'all-gone failed count 0'
    'one-slow failed count 0'
    'one-slow p99_to_base ratio 1.3'
    'swaps failed count 0'
    'swaps p99_to_base ratio 2'
    'swaps refused count 0'
    'swaps ms_per_1000 ms 1020'
    'swaps sockets_left count 0'
)

SWAPS_A_SECOND=1000
SWAP_SECONDS=60
# New sets are sent in batches, one after the other; a batch every so many ms.
BATCH_MS=100
# What an upstream that is left out was asked has so long to end …
DRAIN=5
# … and afterwards its connections have so long to be closed.
CLOSE=1
# A measurement that does not count (the client could not keep its pace) is repeated so often.
REPEATS=3

choose_cases "${ALL[@]}"
[ "${1:-}" = inside ] || enter_stage "$SELF"

# --- cases -----------------------------------------------------------------------------------------------

# Each leaves its figures in DIR/figures.

figure() { printf '%s %s\n' "$1" "$2" >>"$DIR/figures"; }

gets() { load "$1" "http://$PROXY/random/number" --rate 500 "${@:2}"; }

stress() {
    local wave loads before requests=0 failed=0
    before=$(executions_of /stress)
    gets beside --duration 10s & loads=$!
    sleep 2
    for wave in 1 2 3; do
        # All at once, or as near to it as one client gets.
        load "stress$wave" "http://$PROXY/stress?seconds=2" --rate 1000 --duration 50ms --timeout 15s
        requests=$((requests + $(of "stress$wave" intended)))
        failed=$((failed + $(of "stress$wave" failed)))
    done
    wait "$loads"
    figure failed $((failed + $(of beside failed)))
    figure ejections "$(sum_of lb_ejections_total)"
    figure executions_per_request \
        "$(awk -v n="$(($(executions_of /stress) - before))" -v of="$requests" 'BEGIN { printf "%.3f", n / of }')"
    must_count beside
}

all-gone() {
    local number loads
    gets beside --duration 8s --timeout 10s & loads=$!
    sleep 2
    for number in 1 2 3 4; do harm destroy "$number"; done
    sleep 2
    for number in 1 2 3 4; do heal destroy "$number"; done
    for number in 1 2 3 4; do backend_serves "$number"; done
    put "$STAGE" /upstreams "$(upstream_set 2 "$(upstream 1 2)" "$(upstream 2 2)" "$(upstream 3 2)" "$(upstream 4 2)")"
    wait "$loads"
    figure failed "$(of beside failed)"
    must_count beside
}

one-slow() {
    gets base --duration 15s
    delay 500
    gets slow --duration 15s
    delay 0
    figure failed $(($(of base failed) + $(of slow failed)))
    figure p99_to_base "$(awk -v a="$(latency slow p99)" -v b="$(latency base p99)" 'BEGIN { printf "%.2f", a / b }')"
    printf '  %s: p99 %s ms, and %s ms with one slow\n' one-slow "$(latency base p99)" "$(latency slow p99)" >&2
    must_count base slow
}

delay() { curl -sf -m 2 -o /dev/null -X PUT "http://${BACKENDS[2]}:8080/delay?millis=$1"; }

# make_batches prepares what curl sends: three new sets for each backend in turn, in which it drains, is left
# out, and is back.
make_batches() {
    mkdir "$DIR/batches"
    awk -v all=$((SWAPS_A_SECOND * SWAP_SECONDS)) -v per=$((SWAPS_A_SECOND * BATCH_MS / 1000)) \
        -v to="$DIR/batches" -v url="http://$STAGE:8443/upstreams" -v addresses="${BACKENDS[*]}" '
        function entry(n, state) {
            return sprintf("{\\\"id\\\": \\\"b%d-1\\\", \\\"address\\\": \\\"%s\\\", \\\"port\\\": 8080, \\\"state\\\": \\\"%s\\\"}",
                n, address[n], state)
        }
        BEGIN {
            count = split(addresses, address, " ")
            for (i = 0; i < all; i++) {
                file = sprintf("%s/%06d", to, int(i / per))
                turn = int(i / 3) % count + 1; set = ""
                for (n = 1; n <= count; n++) {
                    if (n == turn && i % 3 == 1) continue
                    set = set (set == "" ? "" : ", ") entry(n, n == turn && i % 3 == 0 ? "draining" : "ready")
                }
                if (i % per) print "next" >file
                printf "url = \"%s\"\nrequest = PUT\noutput = /dev/null\nmax-time = 2\n", url >file
                print "header = \"content-type: application/json\"\nwrite-out = \"%{http_code}\\n\"" >file
                printf "data = \"{\\\"generation\\\": %d, \\\"pools\\\": {\\\"service\\\": [%s]}}\"\n", i + 2, set >file
                if (i % per == per - 1) close(file)
            }
        }'
}

swaps() {
    local number batch begun took ahead loads=() sent=$((SWAPS_A_SECOND * SWAP_SECONDS)) left=0
    make_batches
    put "$STAGE" /config '{"generation": 1, "routes": [{"name": "all", "pool": "service"}],
        "pools": {"service": {"drain_ms": '$((DRAIN * 1000))'}}}'
    all_kinds base 15
    wait "${loads[@]}"
    loads=()
    all_kinds beside $SWAP_SECONDS
    begun=$(now_ms) number=0
    for batch in "$DIR"/batches/*; do
        curl -s --config "$batch" >>"$DIR/codes" || true
        number=$((number + 1)) ahead=$((begun + number * BATCH_MS - $(now_ms)))
        [ "$ahead" -le 0 ] || sleep "$(printf '0.%03d' "$ahead")"
    done
    took=$(($(now_ms) - begun))
    wait "${loads[@]}"
    put "$STAGE" /upstreams "$(upstream_set $((sent + 2)) "$(upstream 1)")"
    sleep $((DRAIN + CLOSE))
    for number in 2 3 4; do left=$((left + $(sockets_to "$number"))); done
    figure failed $(($(of beside failed) + $(of beside-post failed) + $(of beside-stress failed)))
    figure p99_to_base "$(awk -v a="$(latency beside p99)" -v b="$(latency base p99)" 'BEGIN { printf "%.2f", a / b }')"
    figure refused $((sent - $(grep -c '^200$' "$DIR/codes")))
    figure ms_per_1000 $((took * 1000 / sent))
    figure sockets_left "$left"
    printf '  %s: p99 of GETs %s ms, and %s ms beside them\n' swaps "$(latency base p99)" "$(latency beside p99)" >&2
    must_count base beside beside-post beside-stress
}

# all_kinds NAME SECONDS begins the loads of `swaps`, in its `loads`.
all_kinds() {
    gets "$1" --duration "${2}s" --timeout 5s & loads+=($!)
    load "$1-post" "http://$PROXY/count" --post --rate 100 --duration "${2}s" --timeout 5s & loads+=($!)
    load "$1-stress" "http://$PROXY/stress?seconds=1" --rate 10 --duration "${2}s" --timeout 5s & loads+=($!)
}

# --- measuring -------------------------------------------------------------------------------------------

# metrics_of CASE prints its metrics with unit and bound.
metrics_of() { printf '%s\n' "${METRICS[@]}" | sed -n "s/^$1 //p"; }

measure() {
    local attempt metric value
    for attempt in $(seq $REPEATS); do
        DIR=$(mktemp -d "$WORK/XXXXXX")
        RUNNING=()
        start_backends
        start_lb
        VALID=1
        case $1 in
            stress) stress ;;
            all-gone) all-gone ;;
            one-slow) one-slow ;;
            swaps) swaps ;;
        esac
        end_all
        rm -rf "$STATE" "$DIR/batches"
        if [ $VALID = 1 ]; then
            while read -r metric value; do
                result "$1" lb "$metric" "$value"
                printf '  %-12s %-24s %10s\n' "$1" "$metric" "$value" >&2
            done <"$DIR/figures"
            [ -n "${KEEP:-}" ] || rm -rf "$DIR"
            return 0
        fi
        say "$1: attempt $attempt does not count: $(tail -qn 1 "$DIR"/*.log | tr '\n' ' ')"
    done
    STATUS=3 die "$1: no attempt counts; the logs are in $DIR"
}

table() {
    local case metric unit most missed=0
    printf '\nMedians of %s rounds and their bounds\n' "$ROUNDS"
    for case in "${cases[@]}"; do
        printf '  %s\n' "$case"
        while read -r metric unit most; do
            bound "$metric, $unit" "$(median "$case" lb "$metric")" "$most"
            write_figure resilience "$case" lb "$metric" "$unit"
        done < <(metrics_of "$case")
    done
    return "$missed"
}

WORK=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-bench-resilience.XXXXXX")
RESULTS=$WORK/results
: >"$RESULTS"
make_network
say "On $(nproc) processors, $ROUNDS rounds"
for ((round = 1; round <= ROUNDS; round++)); do
    say "Round $round of $ROUNDS"
    for case in "${cases[@]}"; do measure "$case"; done
done
MEASURED=1
status=0
table || status=1
[ -n "${KEEP:-}" ] || rm -rf "$WORK"
exit "$status"
