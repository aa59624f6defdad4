#!/usr/bin/env bash
# What connections cost that the kernel forwards, beside those that our balancer and HAProxy pass on themselves: the cases
# forwarded-… of the suite `tcp` of deploy/bench.sh, which is how it is started.
#
#   forwarded-requests         64 connections over which small questions go as fast as they can
#   forwarded-new-connection   a connection for each question
#   forwarded-body-1m          1 MiB to the client
#
# Clients, director and servers each have a network of their own at one bridge, because packets that the kernel forwards have to
# come from somewhere else and go on. What a kernel does for others is in nobody's account, so what is counted is all that
# the first core does: the director's programs are pinned to it and its packets steered there (RPS); clients and servers
# have the others, and the packets that come to them. With lb-nftables answers come back through the director, with
# lb-nftables-dsr they do not.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=deploy/bench/common.sh
. "$ROOT/deploy/bench/common.sh"
# shellcheck source=deploy/bench/measuring.sh
. "$ROOT/deploy/bench/measuring.sh"
# shellcheck source=deploy/bench/proxy-figures.sh
. "$ROOT/deploy/bench/proxy-figures.sh"

SUITE=tcp
SELF=$(readlink -f "${BASH_SOURCE[0]}")
BENCH=$HOLDFAST_BIN/bench
SUBJECTS=(lb lb-nftables lb-nftables-dsr haproxy)
ALL=(forwarded-requests forwarded-new-connection forwarded-body-1m)
PUBLIC=10.78.0.100 PORT=8080
AT=$PUBLIC:$PORT
PATIENCE=30 SECONDS_OF_LOAD=3 SECONDS_OF_WARMING=0.5

MEASURED=0
trap leave_suite EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

choose_cases "${ALL[@]}"
if [ "${1:-}" != inside ]; then
    need_lab
    need taskset:util-linux nft:nftables
    need_stopped /usr/sbin/haproxy:haproxy
    enter_namespaces
fi

# mask CORE… prints them as the kernel wants them.
mask() {
    local core bits=0
    for core in "$@"; do bits=$((bits | 1 << core)); done
    printf '%x\n' "$bits"
}

in_network() { ip netns exec "$1" "${@:2}"; }

# machine NAME LAST MASK plugs one in, whose packets are taken in by the cores of MASK.
machine() {
    ip netns add "$1"
    ip link add "port-$1" type veth peer name eth0 netns "$1"
    ip link set "port-$1" master br0 up
    ip -n "$1" link set lo up
    ip -n "$1" address add "10.78.0.$2/24" dev eth0
    ip -n "$1" link set eth0 up
    in_network "$1" sh -c "echo $3 >/sys/class/net/eth0/queues/rx-0/rps_cpus"
    in_network "$1" sysctl -q -w net.ipv4.ip_local_port_range='10000 65535'
}

set_up() {
    local own
    mapfile -t own < <(cores)
    share_cores "${own[@]}"
    mount -t tmpfs tmpfs /run
    mkdir /run/netns
    WORK=$(mktemp -d /run/holdfast-bench-kernel.XXXXXX)
    RESULTS=$WORK/results PENDING=$WORK/pending
    : >"$RESULTS"
    ip link set lo up
    ip link add br0 type bridge stp_state 0 forward_delay 0
    ip link set br0 up
    FIRST_MASK=$(mask "$FIRST_CORE") OTHER_MASK=$(mask "${own[@]:1}")
}

# plug_in makes the machines anew: servers remember connections that have ended, with the port that the next subject's packets
# would come from.
plug_in() {
    local last
    machine clients 1 "$OTHER_MASK"
    machine director 10 "$FIRST_MASK"
    machine servers 31 "$OTHER_MASK"
    for last in 32 33 34; do ip -n servers address add "10.78.0.$last/24" dev eth0; done
    ip -n director address add "$PUBLIC/32" dev eth0
    in_network servers sysctl -q -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
    ip -n servers address add "$PUBLIC/32" dev lo
    taskset -c "$OTHER_CORES" ip netns exec servers "$BENCH" backend "0.0.0.0:$PORT" >"$DIR/servers.log" 2>&1 &
    SERVERS_PID=$!
    await "the servers" in_network servers "$BENCH" answered "10.78.0.31:$PORT" --patience 5
}

unplug() {
    local name
    kill -KILL "$SERVERS_PID" 2>/dev/null || true
    wait "$SERVERS_PID" 2>/dev/null || true
    for name in clients director servers; do
        ip link delete "port-$name"
        ip netns delete "$name"
    done
}

# shellcheck disable=SC2317 # called by await
keep_logs() {
    local kept
    kept=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-bench-kernel.XXXXXX")
    find "${DIR:-$WORK}" -maxdepth 1 -type f -exec cp {} "$kept" \;
    echo "$kept"
}

configure_lb() {
    cat >"$DIR/lb.toml" <<CONF
machine = "lb"
address = "10.78.0.10"
listen = "10.78.0.10:9081"
admin_port = 9080
admin_changes_port = 9443
state_dir = "$DIR/state"
workers = 1
[limits]
connections = 8192
[[config.tcp]]
name = "service"
port = $PORT
pool = "service"
forwarding = "$1"
[config.pools.service]
check = { active = true, ask = { tcp = {} } }
upstream_limits = { max_connections = 1000000, max_requests = 1000000 }
[upstreams]
service = [
$(printf '    { address = "10.78.0.%s", port = '"$PORT"' },\n' 31 32 33 34)
]
CONF
    mkdir "$DIR/state"
}

configure_haproxy() {
    cat >"$DIR/haproxy.cfg" <<CONF
global
    nbthread 1
    maxconn 8192
    no strict-limits
defaults
    mode tcp
    timeout client 10m
    timeout connect 1s
    timeout server 10m
    option splice-auto
frontend clients
    bind $AT backlog 65535
    default_backend service
backend service
    balance roundrobin
    default-server check inter 2000ms fall 2 rise 1
$(for last in 31 32 33 34; do echo "    server s$last 10.78.0.$last:$PORT"; done)
CONF
}

start_subject() {
    local command=("$HOLDFAST_BIN/lb" proxy --config "$WORK/subject/lb.toml")
    DIR=$WORK/subject
    mkdir "$DIR"
    plug_in
    case $SUBJECT in
        lb) configure_lb proxy ;;
        lb-*) configure_lb "${SUBJECT#lb-}" ;;
        haproxy) configure_haproxy && command=(/usr/sbin/haproxy -db -f "$DIR/haproxy.cfg") ;;
    esac
    taskset -c "$FIRST_CORE" ip netns exec director "${command[@]}" >"$DIR/subject.log" 2>&1 &
    SUBJECT_PID=$!
    await "$SUBJECT" in_network clients "$BENCH" answered "$AT" --patience 1
}

# In order: what it had the kernel do goes with it.
end_subject() {
    kill -TERM "$SUBJECT_PID" 2>/dev/null || true
    wait "$SUBJECT_PID" 2>/dev/null || true
    unplug
    rm -rf "$DIR"
}

# busy prints how long the first core has worked so far, in us: all but idle, iowait and steal of proc_stat(5).
busy() {
    awk -v core="cpu$FIRST_CORE" -v tick="$(getconf CLK_TCK)" \
        '$1 == core { printf "%.0f\n", ($2 + $3 + $4 + $7 + $8) * 1000000 / tick }' /proc/stat
}

on_load_cores() { timeout -k 5 120 taskset -c "$OTHER_CORES" ip netns exec clients "$BENCH" load "$AT" "$@"; }

# run_case measures CASE with SUBJECT once. It fails if what was measured does not count.
run_case() {
    local load before after requests failed status=0
    case $CASE in
        forwarded-requests) load=(--connections 64) ;;
        forwarded-new-connection) load=(--fresh --connections 32) ;;
        forwarded-body-1m) load=(--path /big --connections 8) ;;
    esac
    start_subject
    on_load_cores "${load[@]}" --duration "$SECONDS_OF_WARMING" >/dev/null 2>&1 || true
    before=$(busy)
    on_load_cores "${load[@]}" --duration "$SECONDS_OF_LOAD" >"$DIR/load" 2>"$DIR/load.err" || status=1
    after=$(busy)
    requests=$(of load requests) failed=$(of load failed)
    if [ $status != 0 ] || [ "${requests:-0}" -eq 0 ] || [ "${failed:-1}" -ne 0 ]; then
        say "$CASE, $SUBJECT: ${requests:-no} requests, ${failed:-all} failed: $(head -n 3 "$DIR/load.err" | tr '\n' ' ')"
        status=1
    else
        note requests_per_s 1/s "$(ratio "$requests" "$(of load seconds)")"
        note cpu_us_per_request us "$(ratio $((after - before)) "$requests")"
        note utilisation cores "$(ratio $((after - before)) "$(awk -v s="$(of load seconds)" 'BEGIN { print s * 1000000 }')")"
    fi
    end_subject
    return $status
}

set_up
say "Forwarded by the kernel, director on core $FIRST_CORE, clients and servers on $OTHER_CORES, $ROUNDS rounds"
for ((ROUND = 1; ROUND <= ROUNDS; ROUND++)); do
    say "Round $ROUND of $ROUNDS"
    for CASE in "${cases[@]}"; do
        for ((turn = 0; turn < ${#SUBJECTS[@]}; turn++)); do
            SUBJECT=${SUBJECTS[(turn + ROUND - 1) % ${#SUBJECTS[@]}]}
            measure
        done
    done
done
write_figures
# The other cases' table has these too.
[ "${TABLE_FOLLOWS:-0}" = 1 ] || table
MEASURED=1
