#!/usr/bin/env bash
# The suite `faults` of deploy/bench.sh, which is how it is started: what clients notice when one of four
# backends fails, with our balancer, a tuned nginx and a tuned HAProxy in front of them.
#
# 500 GETs and 497 POSTs a second for 15 s, sent on schedule whether or not answers come (unequal, or they
# would keep step with a round robin and one method would meet all the harm). After 5 s the third backend is
#
#   kill        killed; started again after 5 s
#   destroy     killed with its network gone first, so that it closes no connection and refuses none; back
#               after 5 s
#   freeze      stopped for 7 s: its kernel acknowledges, nobody answers
#   blackhole   cut off for 7 s: every packet to and from it is dropped
#
# Each measurement has backends and a proxy of its own, in network namespaces. The subjects take turns within
# each fault. POSTs have numbers, which the backends keep: who executed one twice is found out.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=deploy/bench/stage.sh
. "$ROOT/deploy/bench/stage.sh"

SELF=$(readlink -f "${BASH_SOURCE[0]}")
PEERS_SH=$ROOT/deploy/bench/faults-peers.sh

SUBJECTS=(lb nginx haproxy)
FAULTS=(kill destroy freeze blackhole)
ALL=(kill-get kill-post destroy-get freeze-get freeze-post blackhole-get blackhole-post)
METRICS=(failed over_200ms worst_latency_ms posts_executed_twice)

VICTIM=3

# A client that waits longer has failed.
TIMEOUT_MS=2000
# A measurement that does not count (the client could not keep its pace) is repeated so often.
REPEATS=3

# --- what is asked for, and what it needs ---------------------------------------------------------------

choose_cases "${ALL[@]}"
if [ "${1:-}" != inside ]; then
    need /usr/sbin/haproxy:haproxy /usr/sbin/nginx:nginx-light
    enter_stage "$SELF"
fi

# --- measuring -------------------------------------------------------------------------------------------

start_proxy() {
    case $1 in
        lb) start_lb ;;
        *)
            await "the end of the one before" nobody_answers
            setsid "$PEERS_SH" "$1" "$DIR" "$PROXY" "${BACKENDS[@]/%/:8080}" >"$DIR/proxy.log" 2>&1 &
            RUNNING[0]=$!
            await "$1" answers "$PROXY/random/number"
            ;;
    esac
}

# run_once SUBJECT FAULT leaves the reports of the two loads and the ids of the executed POSTs in DIR.
run_once() {
    local until=12 loads=() common=(--duration 15s --timeout "${TIMEOUT_MS}ms")
    DIR=$(mktemp -d "$WORK/XXXXXX")
    RUNNING=()
    start_backends
    start_proxy "$1"
    case $2 in kill | destroy) until=10 ;; esac
    load get "http://$PROXY/random/number" --rate 500 "${common[@]}" & loads+=($!)
    load post "http://$PROXY/count" --post --rate 497 "${common[@]}" & loads+=($!)
    sleep 5.05
    harm "$2" $VICTIM
    sleep $((until - 5))
    heal "$2" $VICTIM
    wait "${loads[@]}"
    end_all
    must_count get post
}

# record SUBJECT FAULT METHOD. What failed late was waited for, too: it counts among what took over 200 ms.
record() {
    local case=$2-$3 failed over worst late_failures worst_failure twice=0
    [[ " ${cases[*]} " == *" $case "* ]] || return 0
    failed=$(of "$3" failed)
    read -r late_failures worst_failure < <(failures "$3" | awk '
        { took = $2 - $1 } took > 200 { late++ } took > worst { worst = took } END { print late + 0, worst + 0 }')
    over=$(($(of "$3" over_200ms) + late_failures))
    worst=$(awk -v a="$(latency "$3" max)" -v b="$worst_failure" -v most=$TIMEOUT_MS \
        'BEGIN { w = a > b ? a : b; print w < most ? w : most }')
    [ "$3" = get ] || twice=$(executed_twice)
    result "$case" "$1" failed "$failed"
    result "$case" "$1" over_200ms "$over"
    result "$case" "$1" worst_latency_ms "$worst"
    result "$case" "$1" posts_executed_twice "$twice"
    printf '  %-15s %-8s failed %5s   over 200 ms %5s   worst %7.1f ms   executed twice %4s\n' \
        "$case" "$1" "$failed" "$over" "$worst" "$twice" >&2
}

measure() {
    local attempt
    for attempt in $(seq $REPEATS); do
        VALID=1
        run_once "$1" "$2"
        if [ $VALID = 1 ]; then
            record "$1" "$2" get
            record "$1" "$2" post
            rm -rf "$DIR"
            return 0
        fi
        say "$2, $1: attempt $attempt does not count: $(tail -qn 1 "$DIR/get.log" "$DIR/post.log" | tr '\n' ' ')"
    done
    STATUS=3 die "$2, $1: no attempt counts; the logs are in $DIR"
}

# --- figures ---------------------------------------------------------------------------------------------

write_figures() {
    local case subject metric unit
    for case in "${cases[@]}"; do
        for subject in "${SUBJECTS[@]}"; do
            for metric in "${METRICS[@]}"; do
                unit=count
                [ "$metric" != worst_latency_ms ] || unit=ms
                write_figure faults "$case" "$subject" "$metric" "$unit"
            done
        done
    done
}

sum() { awk -v a="$1" -v b="$2" 'BEGIN { print a + b }'; }

# The harm that a case does with a subject: what failed, and what came late or was executed twice.
noticed() { sum "$(median "$1" "$2" failed)" "$(median "$1" "$2" "$3")"; }

bounds() {
    local case peer metric ours theirs missed=0
    printf '\nBounds of lb, on medians\n'
    for case in "${cases[@]}"; do
        printf '  %s\n' "$case"
        bound 'over 200 ms' "$(median "$case" lb over_200ms)" 10
        case $case in
            *-get)
                bound 'failed' "$(median "$case" lb failed)" 0
                bound 'worst, in ms' "$(median "$case" lb worst_latency_ms)" 300
                for peer in nginx haproxy; do
                    for metric in failed over_200ms; do
                        bound "$metric: no more than $peer" \
                            "$(median "$case" lb $metric)" "$(median "$case" "$peer" $metric)"
                    done
                    case $case in freeze-* | blackhole-*)
                        theirs=$(noticed "$case" "$peer" over_200ms)
                        bound "failed or over 200 ms: fewer than $peer" \
                            "$(noticed "$case" lb over_200ms)" "$(sum "$theirs" -1)"
                        ;;
                    esac
                done
                ;;
            *-post)
                bound 'executed twice' "$(median "$case" lb posts_executed_twice)" 0
                ours=$(noticed "$case" lb posts_executed_twice)
                for peer in nginx haproxy; do
                    theirs=$(noticed "$case" "$peer" posts_executed_twice)
                    # Nothing is fewer than none.
                    [ "${theirs%.*}" = 0 ] || theirs=$(sum "$theirs" -1)
                    bound "failed or executed twice: fewer than $peer, or none" "$ours" "$theirs"
                done
                ;;
        esac
    done
    return "$missed"
}

table() {
    local case subject metric median least most
    printf '\nOf 7,500 GETs or 7,455 POSTs: median (least to most of %s)\n\n%-15s %-8s' "$ROUNDS" '' ''
    printf ' %30s' 'failed' 'over 200 ms' 'worst in ms' 'POSTs executed twice'
    echo
    for case in "${cases[@]}"; do
        for subject in "${SUBJECTS[@]}"; do
            printf '%-15s %-8s' "$case" "$subject"
            for metric in "${METRICS[@]}"; do
                read -r median least most _ < <(figures "$case" "$subject" "$metric")
                printf ' %30s' "$median ($least to $most)"
            done
            echo
        done
    done
}

# --- all of it -------------------------------------------------------------------------------------------

WORK=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-bench-faults.XXXXXX")
RESULTS=$WORK/results
: >"$RESULTS"
make_network
say "Beside $(/usr/sbin/nginx -v 2>&1 | sed 's/.*: //') and $(/usr/sbin/haproxy -v | sed -n '1s/HAProxy version \([^ ]*\).*/HAProxy \1/p'), on $(nproc) processors, $ROUNDS rounds"
for ((round = 1; round <= ROUNDS; round++)); do
    say "Round $round of $ROUNDS"
    for fault in "${FAULTS[@]}"; do
        [[ " ${cases[*]} " == *" $fault-"* ]] || continue
        for subject in "${SUBJECTS[@]}"; do measure "$subject" "$fault"; done
    done
done
write_figures
table
MEASURED=1
status=0
bounds || status=1
rm -rf "$WORK"
exit "$status"
