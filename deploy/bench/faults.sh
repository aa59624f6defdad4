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

SELF=$(readlink -f "${BASH_SOURCE[0]}")
PEERS_SH=$ROOT/deploy/bench/faults-peers.sh

SUBJECTS=(lb nginx haproxy)
FAULTS=(kill destroy freeze blackhole)
ALL=(kill-get kill-post destroy-get freeze-get freeze-post blackhole-get blackhole-post)
METRICS=(failed over_200ms worst_latency_ms posts_executed_twice)

BACKENDS=(10.88.0.11 10.88.0.12 10.88.0.13 10.88.0.14)
VICTIM=3
PROXY=10.88.0.1:8000

# A client that waits longer has failed.
TIMEOUT_MS=2000
# What is not in order after so many seconds never will be.
PATIENCE=30
# A measurement that does not count (the client could not keep its pace) is repeated so often.
REPEATS=3

# --- what is asked for, and what it needs ---------------------------------------------------------------

read -r -a cases <<<"${CASES:-${ALL[*]}}"
for case in "${cases[@]}"; do
    [[ " ${ALL[*]} " == *" $case "* ]] || STATUS=2 die "there is no case '$case'; there are: ${ALL[*]}"
done

# In namespaces of its own, which the kernel clears away with everything in them when this script ends.
if [ "${1:-}" != inside ]; then
    need_lab
    need nft:nftables /usr/sbin/haproxy:haproxy /usr/sbin/nginx:nginx-light
    for program in lb stateless loadtest; do
        [ -x "$HOLDFAST_BIN/$program" ] || STATUS=3 die "there is no $program in $HOLDFAST_BIN"
    done
    user=()
    [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
    exec unshare "${user[@]}" --net --mount --pid --mount-proc --fork --kill-child "$SELF" inside
fi

# --- the network -----------------------------------------------------------------------------------------

make_network() {
    local number
    mount -t tmpfs tmpfs /run
    mkdir /run/netns
    ip link set lo up
    ip link add br0 type bridge
    ip address add 10.88.0.1/24 dev br0
    ip link set br0 up
    for number in 1 2 3 4; do
        ip netns add "b$number"
        ip link add "port-$number" type veth peer name eth0 netns "b$number"
        ip link set "port-$number" master br0 up
        ip -n "b$number" link set lo up
        ip -n "b$number" address add "${BACKENDS[number - 1]}/24" dev eth0
        ip -n "b$number" link set eth0 up
    done
}

# await WHAT COMMAND… waits until it succeeds.
await() {
    local what=$1 end=$((SECONDS + PATIENCE))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt "$end" ] || STATUS=3 die "$what: not there after $PATIENCE s; the logs are in $DIR"
        sleep 0.02
    done
}

start_backend() {
    printf 'machine = "b%s"\nlisten = "%s:8080"\n' "$1" "${BACKENDS[$1 - 1]}" >"$DIR/b$1.toml"
    nsenter --net="/run/netns/b$1" -- "$HOLDFAST_BIN/stateless" --config "$DIR/b$1.toml" \
        >>"$DIR/b$1.log" 2>&1 &
    RUNNING[$1]=$!
}

# shellcheck disable=SC2317 # called by await
answers() { curl -sf -m 1 -o /dev/null "http://$1"; }

# Whoever still listens would take part of the load.
# shellcheck disable=SC2317 # called by await
nobody_answers() { ! curl -s -m 1 -o /dev/null "http://$PROXY"; }

# In a group of its own, to be ended with all its workers.
start_proxy() {
    await "the end of the one before" nobody_answers
    case $1 in
        lb)
            mkdir -p "$DIR/state"
            printf 'machine = "lb"\naddress = "10.88.0.1"\nlisten = "%s"\nstate_dir = "%s"\n' \
                "$PROXY" "$DIR/state" >"$DIR/lb.toml"
            setsid "$HOLDFAST_BIN/lb" proxy --config "$DIR/lb.toml" >"$DIR/proxy.log" 2>&1 &
            RUNNING[0]=$!
            await "the balancer" curl -sf -m 1 -X PUT -H 'content-type: application/json' \
                --data "{\"generation\": 1, \"pools\": {\"service\": [$(upstreams)]}}" \
                http://10.88.0.1:8443/upstreams
            ;;
        *)
            setsid "$PEERS_SH" "$1" "$DIR" "$PROXY" "${BACKENDS[@]/%/:8080}" >"$DIR/proxy.log" 2>&1 &
            RUNNING[0]=$!
            ;;
    esac
    await "$1" answers "$PROXY/random/number"
}

upstreams() {
    local number comma=''
    for number in 1 2 3 4; do
        printf '%s{"id": "b%s", "address": "%s", "port": 8080}' "$comma" "$number" "${BACKENDS[number - 1]}"
        comma=', '
    done
}

# --- faults ----------------------------------------------------------------------------------------------

ids_of() { curl -sf -m 2 "http://${BACKENDS[$1 - 1]}:8080/count/ids"; }

harm() {
    case $1 in
        kill | destroy)
            # What it has executed ends with it.
            ids_of $VICTIM >>"$DIR/ids"
            [ "$1" = kill ] || ip link set port-$VICTIM down
            kill -KILL "${RUNNING[VICTIM]}"
            wait "${RUNNING[VICTIM]}" 2>/dev/null || true
            ;;
        freeze) kill -STOP "${RUNNING[VICTIM]}" ;;
        blackhole)
            ip netns exec b$VICTIM nft -f - <<'RULES'
table inet hole {
    chain in { type filter hook input priority 0; policy drop; }
    chain out { type filter hook output priority 0; policy drop; }
}
RULES
            ;;
    esac
}

heal() {
    case $1 in
        kill) start_backend $VICTIM ;;
        destroy)
            ip link set port-$VICTIM up
            start_backend $VICTIM
            ;;
        freeze) kill -CONT "${RUNNING[VICTIM]}" ;;
        blackhole) ip netns exec b$VICTIM nft delete table inet hole ;;
    esac
}

# --- measuring -------------------------------------------------------------------------------------------

load() {
    local method=$1 rate=$2 path=$3 post=()
    [ "$method" = get ] || post=(--post)
    # It says by its exit code, too, whether the run counts; that is looked at in its report.
    "$HOLDFAST_BIN/loadtest" "http://$PROXY$path" "${post[@]}" --rate "$rate" --duration 15s \
        --timeout ${TIMEOUT_MS}ms --json "$DIR/$method.json" >"$DIR/$method.log" 2>&1 || true
}

# run_once SUBJECT FAULT leaves the reports of the two loads and the ids of the executed POSTs in DIR.
run_once() {
    local number until=12 loads=()
    DIR=$(mktemp -d "$WORK/XXXXXX")
    RUNNING=()
    for number in 1 2 3 4; do start_backend "$number"; done
    for number in 1 2 3 4; do await "backend $number" answers "${BACKENDS[number - 1]}:8080/health/ready"; done
    start_proxy "$1"
    case $2 in kill | destroy) until=10 ;; esac
    load get 500 /random/number & loads+=($!)
    load post 497 /count & loads+=($!)
    sleep 5.05
    harm "$2"
    sleep $((until - 5))
    heal "$2"
    wait "${loads[@]}"
    await "the victim" answers "${BACKENDS[VICTIM - 1]}:8080/health/ready"
    for number in 1 2 3 4; do ids_of "$number" >>"$DIR/ids"; done
    kill -KILL -- "-${RUNNING[0]}" "${RUNNING[@]:1}"
    wait "${RUNNING[@]}" 2>/dev/null || true
    grep -q '^  "valid": true' "$DIR/get.json" && grep -q '^  "valid": true' "$DIR/post.json"
}

# of REPORT KEY prints a number at the report's top level.
of() { sed -n "s/^  \"$2\": \([0-9.]*\),*$/\1/p" "$1"; }

# record SUBJECT FAULT METHOD
record() {
    local case=$2-$3 report=$DIR/$3.json failed over worst timeouts twice=0
    [[ " ${cases[*]} " == *" $case "* ]] || return 0
    failed=$(of "$report" failed)
    timeouts=$(awk '/^  "failed_by_kind"/ { on = 1 } /^  }/ { on = 0 } on && /timeout"/ { n += $2 } END { print n + 0 }' "$report")
    over=$(($(of "$report" over_200ms) + timeouts))
    worst=$(awk '/^  "latency_ms"/ { on = 1 } /^  }/ { on = 0 } on && /"max"/ { print $2 + 0 }' "$report")
    [ "$timeouts" = 0 ] || worst=$TIMEOUT_MS
    [ "$3" = get ] || twice=$(sort "$DIR/ids" | uniq -d | wc -l)
    printf '%s\t%s\t%s\t%s\n' "$case" "$1" failed "$failed" "$case" "$1" over_200ms "$over" \
        "$case" "$1" worst_latency_ms "$worst" "$case" "$1" posts_executed_twice "$twice" >>"$RESULTS"
    printf '  %-15s %-8s failed %5s   over 200 ms %5s   worst %7.1f ms   executed twice %4s\n' \
        "$case" "$1" "$failed" "$over" "$worst" "$twice" >&2
}

measure() {
    local attempt
    for attempt in $(seq $REPEATS); do
        if run_once "$1" "$2"; then
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

# figures CASE SUBJECT METRIC prints median, least, most and how many.
figures() {
    awk -F'\t' -v case="$1" -v subject="$2" -v metric="$3" \
        '$1 == case && $2 == subject && $3 == metric { print $4 }' "$RESULTS" | sort -n \
        | awk '{ v[NR] = $1 } END { if (NR) printf "%.1f %.1f %.1f %d\n",
            NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2, v[1], v[NR], NR }'
}

median() { figures "$@" | cut -d ' ' -f 1; }

write_figures() {
    local case subject metric median least most n unit
    for case in "${cases[@]}"; do
        for subject in "${SUBJECTS[@]}"; do
            for metric in "${METRICS[@]}"; do
                unit=count
                [ "$metric" != worst_latency_ms ] || unit=ms
                read -r median least most n < <(figures "$case" "$subject" "$metric")
                printf '{"suite": "faults", "case": "%s", "subject": "%s", "metric": "%s", "unit": "%s", "median": %s, "min": %s, "max": %s, "n": %d}\n' \
                    "$case" "$subject" "$metric" "$unit" "$median" "$least" "$most" "$n" >>"$FIGURES"
            done
        done
    done
}

# bound WHAT VALUE MOST: whether a value is at most what it may be.
bound() {
    local verdict=met
    awk -v a="$2" -v b="$3" 'BEGIN { exit !(a <= b) }' || verdict=MISSED missed=1
    printf '    %-66s %8s of %8s: %s\n' "$1" "$2" "$3" "$verdict"
}

sum() { awk -v a="$1" -v b="$2" 'BEGIN { print a + b }'; }

# The harm that a case does with a subject: what failed, and what came late or was executed twice.
noticed() { sum "$(median "$1" "$2" failed)" "$(median "$1" "$2" "$3")"; }

bounds() {
    local case peer ours theirs missed=0
    printf '\nBounds of lb, on medians\n'
    for case in "${cases[@]}"; do
        printf '  %s\n' "$case"
        bound 'over 200 ms' "$(median "$case" lb over_200ms)" 10
        case $case in
            *-get)
                bound 'failed' "$(median "$case" lb failed)" 0
                bound 'worst, in ms' "$(median "$case" lb worst_latency_ms)" 300
                ours=$(noticed "$case" lb over_200ms)
                for peer in nginx haproxy; do
                    theirs=$(noticed "$case" "$peer" over_200ms)
                    case $case in
                        kill-* | destroy-*) bound "failed or over 200 ms: no more than $peer" "$ours" "$theirs" ;;
                        *) bound "failed or over 200 ms: fewer than $peer" "$ours" "$(sum "$theirs" -1)" ;;
                    esac
                done
                ;;
            *-post)
                bound 'executed twice' "$(median "$case" lb posts_executed_twice)" 0
                ours=$(noticed "$case" lb posts_executed_twice)
                for peer in nginx haproxy; do
                    theirs=$(noticed "$case" "$peer" posts_executed_twice)
                    # Nothing is fewer than none.
                    [ "$theirs" = 0 ] || theirs=$(sum "$theirs" -1)
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
    printf ' %24s' 'failed' 'over 200 ms' 'worst in ms' 'POSTs executed twice'
    echo
    for case in "${cases[@]}"; do
        for subject in "${SUBJECTS[@]}"; do
            printf '%-15s %-8s' "$case" "$subject"
            for metric in "${METRICS[@]}"; do
                read -r median least most _ < <(figures "$case" "$subject" "$metric")
                printf ' %24s' "$median ($least to $most)"
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
status=0
bounds || status=1
rm -rf "$WORK"
exit "$status"
