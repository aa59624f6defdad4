# shellcheck shell=bash
# The stage of the suites of deploy/bench.sh that break backends: four of them, each in a network namespace of
# its own, on a bridge. It is sourced; whoever sources it has sourced deploy/lib.sh before.
#
#   what sources this, in namespaces of its own, which the kernel clears away with everything in them
#   ┌─────────────────────────────────────────────┐
#   │  proxy, clients: br0 10.88.0.1              │
#   │   ├── b1: eth0 10.88.0.11, stateless :8080  │
#   │   └── … b4                                  │
#   └─────────────────────────────────────────────┘
#
# Each measurement has a directory DIR, and processes whose ids are in RUNNING: [0] is the proxy, [1] to [4]
# are the backends.

# shellcheck source=deploy/bench/common.sh
. "$ROOT/deploy/bench/common.sh"

BACKENDS=(10.88.0.11 10.88.0.12 10.88.0.13 10.88.0.14)
STAGE=10.88.0.1
PROXY=$STAGE:8000

# What is not in order after so many seconds never will be.
PATIENCE=30

MEASURED=0
trap leave_suite EXIT
# Without these the first process of a namespace would not hear of either.
trap 'exit 130' INT
trap 'exit 143' TERM

# enter_stage SELF needs what all suites need and starts SELF again, with the argument `inside`, where it may
# do everything.
enter_stage() {
    local program user=()
    need_lab
    need nft:nftables
    for program in lb stateless loadtest; do
        [ -x "$HOLDFAST_BIN/$program" ] || STATUS=3 die "there is no $program in $HOLDFAST_BIN"
    done
    [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
    exec unshare "${user[@]}" --net --mount --pid --mount-proc --fork --kill-child "$1" inside
}

# add_host NAME ADDRESS
add_host() {
    ip netns add "$1"
    ip link add "port-$1" type veth peer name eth0 netns "$1"
    ip link set "port-$1" master br0 up
    ip -n "$1" link set lo up
    ip -n "$1" address add "$2/24" dev eth0
    ip -n "$1" link set eth0 up
}

make_network() {
    local number
    mount -t tmpfs tmpfs /run
    mkdir /run/netns
    ip link set lo up
    ip link add br0 type bridge
    ip address add $STAGE/24 dev br0
    ip link set br0 up
    for number in 1 2 3 4; do add_host "b$number" "${BACKENDS[number - 1]}"; done
}

# The logs of a measurement stay where they are.
keep_logs() { echo "$DIR"; }

# Milliseconds of the Unix epoch.
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# in_host NAME COMMAND… becomes it, in that network.
in_host() {
    local name=$1
    shift
    exec nsenter --net="/run/netns/$name" -- "$@"
}

# --- backends --------------------------------------------------------------------------------------------

# start_backend NUMBER. The POSTs it executes are in DIR/bNUMBER.ids, in whatever way it ends.
start_backend() {
    printf 'machine = "b%s"\nlisten = "%s:8080"\ncount_file = "%s"\n' \
        "$1" "${BACKENDS[$1 - 1]}" "$DIR/b$1.ids" >"$DIR/b$1.toml"
    in_host "b$1" "$HOLDFAST_BIN/stateless" --config "$DIR/b$1.toml" >>"$DIR/b$1.log" 2>&1 &
    RUNNING[$1]=$!
}

start_backends() {
    local number
    for number in 1 2 3 4; do start_backend "$number"; done
    for number in 1 2 3 4; do backend_serves "$number"; done
}

backend_serves() { await "backend $1" answers "${BACKENDS[$1 - 1]}:8080/health/ready"; }

# shellcheck disable=SC2317 # called by await
answers() { curl -sf -m 1 -o /dev/null "http://$1"; }

# executions_of PATH prints how often it was begun by all backends that run.
executions_of() {
    local backend
    for backend in "${BACKENDS[@]}"; do curl -sf -m 2 "http://$backend:8080/metrics"; done \
        | awk -v series="stateless_executions_total{method=\"GET\",route=\"$1\"}" \
            'index($0, series) == 1 { n += $2 } END { print n + 0 }'
}

# executed_twice prints how many POSTs were.
executed_twice() { sort "$DIR"/b?.ids | uniq -d | wc -l; }

# harm FAULT NUMBER
#
#   kill        killed: its kernel closes its connections and refuses others
#   destroy     killed with its network gone first, so that it closes no connection and refuses none
#   freeze      stopped: its kernel acknowledges, nobody answers
#   blackhole   cut off: every packet to and from it is dropped
harm() {
    case $1 in
        kill | destroy)
            [ "$1" = kill ] || ip link set "port-b$2" down
            kill -KILL "${RUNNING[$2]}"
            wait "${RUNNING[$2]}" 2>/dev/null || true
            ;;
        freeze) kill -STOP "${RUNNING[$2]}" ;;
        blackhole)
            ip netns exec "b$2" nft -f - <<'RULES'
table inet hole {
    chain in { type filter hook input priority 0; policy drop; }
    chain out { type filter hook output priority 0; policy drop; }
}
RULES
            ;;
    esac
}

# heal FAULT NUMBER undoes it; who was killed is started again.
heal() {
    case $1 in
        kill) start_backend "$2" ;;
        destroy)
            ip link set "port-b$2" up
            start_backend "$2"
            ;;
        freeze) kill -CONT "${RUNNING[$2]}" ;;
        blackhole) ip netns exec "b$2" nft delete table inet hole ;;
    esac
}

# --- the balancer ----------------------------------------------------------------------------------------

# upstream NUMBER [LIFE] [STATE] prints its entry in a set: its id changes with its life, its address stays.
upstream() {
    printf '{"id": "b%s-%s", "address": "%s", "port": 8080, "state": "%s"}' \
        "$1" "${2:-1}" "${BACKENDS[$1 - 1]}" "${3:-ready}"
}

# upstream_set GENERATION ENTRY… prints a set.
upstream_set() {
    local generation=$1 entries
    shift
    entries=$(printf ', %s' "$@")
    printf '{"generation": %s, "pools": {"service": [%s]}}' "$generation" "${entries:2}"
}

# put ADDRESS PATH DOCUMENT gives it to the balancer there.
put() {
    curl -sf -m 2 -o /dev/null -X PUT -H 'content-type: application/json' --data "$3" "http://$1:8443$2"
}

# Whoever still listens would take part of the load.
# shellcheck disable=SC2317 # called by await
nobody_answers() { ! curl -s -m 1 -o /dev/null "http://$PROXY"; }

# In a group of its own, to be ended with all its workers.
start_lb() {
    await "the end of the one before" nobody_answers
    # In memory, as in the machines that balancers are: their root file system is an initramfs.
    STATE=$(mktemp -d /run/lb.XXXXXX)
    printf 'machine = "lb"\naddress = "%s"\nlisten = "%s"\nstate_dir = "%s"\n' \
        "$STAGE" "$PROXY" "$STATE" >"$DIR/lb.toml"
    setsid "$HOLDFAST_BIN/lb" proxy --config "$DIR/lb.toml" >"$DIR/proxy.log" 2>&1 &
    RUNNING[0]=$!
    await "the balancer" put "$STAGE" /upstreams \
        "$(upstream_set 1 "$(upstream 1)" "$(upstream 2)" "$(upstream 3)" "$(upstream 4)")"
    await "the service" answers "$PROXY/random/number"
}

# sum_of SERIES prints the sum of all series of a metric of the balancer.
sum_of() {
    curl -sf -m 2 "http://$STAGE:8080/metrics" \
        | awk -v name="$1{" 'index($0, name) == 1 { n += $NF } END { print n + 0 }'
}

# sockets_to NUMBER prints how many connections there are from here to a backend; those that are over and
# only kept for stray packets do not count.
sockets_to() { ss -Htn state connected exclude time-wait dst "${BACKENDS[$1 - 1]}:8080" | wc -l; }

end_all() {
    kill -KILL -- "-${RUNNING[0]}" "${RUNNING[@]:1}"
    wait "${RUNNING[@]}" 2>/dev/null || true
}

# --- reports of loadtest ---------------------------------------------------------------------------------

# load NAME URL OPTION… leaves DIR/NAME.json. It says by its exit code, too, whether the run counts; that is
# looked at in its report.
load() {
    local name=$1
    shift
    "$HOLDFAST_BIN/loadtest" "$@" --json "$DIR/$name.json" >"$DIR/$name.log" 2>&1 || true
}

# counts NAME: whether the load was sent as it should have been, so that its figures mean anything.
counts() { grep -q '^  "valid": true' "$DIR/$1.json"; }

# must_count NAME… makes VALID 0 if one of them does not count.
must_count() {
    local name
    for name in "$@"; do
        # shellcheck disable=SC2034 # the caller's
        counts "$name" || VALID=0
    done
}

# of NAME KEY prints a number at the report's top level.
of() { sed -n "s/^  \"$2\": \([0-9.]*\),*$/\1/p" "$DIR/$1.json"; }

# latency NAME QUANTILE prints what so many of the successful requests took at most, in ms.
latency() {
    awk -v key="\"$2\":" '/^  "latency_ms"/ { on = 1 } /^  }/ { on = 0 } on && $1 == key { print $2 + 0 }' \
        "$DIR/$1.json"
}

# failures NAME prints for each failed request when it was sent and when it had failed, in ms of the Unix
# epoch, and why.
failures() {
    awk -v start="$(of "$1" started_unix_ms)" '
        /^  "failures"/ { on = 1 } /^  ]/ { on = 0 } !on { next }
        /"started_ms"/ { at = $2 + 0 } /"took_ms"/ { took = $2 + 0 }
        /"kind"/ { gsub(/[",]/, "", $2); printf "%.0f %.0f %s\n", start + at, start + at + took, $2 }' "$DIR/$1.json"
}

# --- figures ---------------------------------------------------------------------------------------------

# result CASE SUBJECT METRIC VALUE notes what was measured once.
result() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$RESULTS"; }

# figures CASE SUBJECT METRIC prints median, least, most and how many.
figures() {
    awk -F'\t' -v case="$1" -v subject="$2" -v metric="$3" \
        '$1 == case && $2 == subject && $3 == metric { print $4 }' "$RESULTS" | sort -n \
        | awk '{ v[NR] = $1 } END { if (NR) printf "%.2f %.2f %.2f %d\n",
            NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2, v[1], v[NR], NR }'
}

median() { figures "$@" | cut -d ' ' -f 1; }

# write_figure SUITE CASE SUBJECT METRIC UNIT
write_figure() {
    local median least most n
    read -r median least most n < <(figures "$2" "$3" "$4")
    printf '{"suite": "%s", "case": "%s", "subject": "%s", "metric": "%s", "unit": "%s", "median": %s, "min": %s, "max": %s, "n": %d}\n' \
        "$1" "$2" "$3" "$4" "$5" "$median" "$least" "$most" "$n" >>"$FIGURES"
}

# bound WHAT VALUE MOST says whether a value is at most what it may be; `missed` is 1 afterwards if not.
bound() {
    local verdict=met
    if ! awk -v a="$2" -v b="$3" 'BEGIN { exit !(a != "" && a <= b) }'; then
        verdict=MISSED
        # shellcheck disable=SC2034 # the caller's
        missed=1
    fi
    printf '    %-66s %8s of %8s: %s\n' "$1" "$2" "$3" "$verdict"
}
