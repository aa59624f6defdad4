#!/usr/bin/env bash
# The suite `proxy` of deploy/bench.sh, which is how it is started: what a request and a connection cost our balancer, beside
# nginx and HAProxy doing the same.
#
#   keepalive-saturated, -2t   64 kept connections as fast as it goes; -2t with two threads, sharing both cores with the load
#   keepalive-3000rps          3,000 requests a second on schedule
#   post-keepalive             POSTs of 100 bytes on 64 kept connections
#   new-connection             a connection for each request
#   tls-keepalive              as keepalive-saturated, with TLS 1.3
#   tls-handshake, -resumed    a handshake for each request, P-256; and where the session is resumed
#   h2                         HTTP/2 over TLS, one connection with 100 streams
#   body-1m, body-100m         answers of 1 MiB and 100 MiB
#   upload-1m, post-64k        requests of 1 MiB; of 64 KiB, which are sent back
#   idle-2000, idle-20000, idle-tls-2000   connections that asked once and stay
#   upstreams-2, -100, -10000  as keepalive-saturated with so many upstreams
#   swap                       10,000 upstreams, of which 100 are replaced ten times a second; beside our balancer at rest
#   swap-delta                 10,000 upstreams, of which one at a time is replaced: bytes and processor time of a change
#   start                      from the start to the first answer
#
# Each measurement has a process of its own, pinned to the first core; load and backends have the others. The subjects take
# turns in each case, another one first in each round. Everything is in namespaces of its own. BENCH_ACCESS_LOG=off has
# nobody write an access log. BENCH_LB_POOL is a line for the policy of our pool, to see what it costs: 'reuse_unrepeatable =
# true'.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=deploy/bench/common.sh
. "$ROOT/deploy/bench/common.sh"
# shellcheck source=deploy/bench/proxy-subjects.sh
. "$ROOT/deploy/bench/proxy-subjects.sh"
# shellcheck source=deploy/bench/proxy-cases.sh
. "$ROOT/deploy/bench/proxy-cases.sh"
# shellcheck source=deploy/bench/measuring.sh
. "$ROOT/deploy/bench/measuring.sh"
# shellcheck source=deploy/bench/proxy-figures.sh
. "$ROOT/deploy/bench/proxy-figures.sh"

# Another suite measures in the same way, with subjects and cases of its own.
SUITE=${SUITE:-proxy}

SELF=$(readlink -f "${BASH_SOURCE[0]}")
BENCH=$HOLDFAST_BIN/bench
SUBJECTS=(lb nginx haproxy)
ALL=(keepalive-saturated keepalive-saturated-2t keepalive-3000rps post-keepalive new-connection tls-keepalive
    tls-handshake tls-resumed h2 body-1m body-100m upload-1m post-64k idle-2000 idle-20000 idle-tls-2000
    upstreams-2 upstreams-100 upstreams-10000 swap swap-delta start)
need_more() { :; }
if [ "$SUITE" = tcp ]; then
    # shellcheck source=deploy/bench/tcp-subjects.sh
    . "$ROOT/deploy/bench/tcp-subjects.sh"
fi

# What is not in order after so many seconds never will be.
PATIENCE=30
# How many open files 20,000 connections may take; where fewer may be had, that case has fewer connections. Below the
# second figure the largest cases are left out.
FILES=131072
FILES_OF_MANY=16384
# What an idle connection takes of them. One that is passed on as it comes has another one to an upstream.
FILES_EACH=1
[ "$SUITE" != tcp ] || FILES_EACH=2
# p99 is judged after so many rounds; where enough were asked for to judge the rest, its case has them.
ENOUGH=5 ROUNDS_OF_LATENCY=9

MEASURED=0
trap leave_suite EXIT
# Without these the first process of a namespace would not hear of either.
trap 'exit 130' INT
trap 'exit 143' TERM

# --- what is asked for, and what it needs ---------------------------------------------------------------

choose_cases "${ALL[@]}"
if [ "${1:-}" != inside ]; then
    need_lab
    need wrk:wrk h2load:nghttp2-client openssl:openssl taskset:util-linux ss:iproute2
    need_stopped /usr/sbin/haproxy:haproxy /usr/sbin/nginx:nginx-light
    need_more
    # Where a processor counts instructions.
    ! compgen -G '/sys/bus/event_source/devices/cpu*' >/dev/null || need perf:linux-perf
    enter_namespaces
fi

set_up() {
    local own
    mapfile -t own < <(cores)
    share_cores "${own[@]}"
    TWO_CORES=${own[0]},${own[1]}
    mount -t tmpfs tmpfs /run
    ip link set lo up
    # Of this network only: room for the connections of all cases, and the kernel's usual congestion control.
    sysctl_of_network ip_local_port_range '10000 65535'
    sysctl_of_network tcp_max_syn_backlog 65535
    echo 65535 >/proc/sys/net/core/somaxconn 2>/dev/null || true
    sysctl_of_network tcp_congestion_control cubic
    WORK=$(mktemp -d /run/holdfast-bench-proxy.XXXXXX)
    RESULTS=$WORK/results PENDING=$WORK/pending
    : >"$RESULTS"
    CERTIFICATE=$WORK/certificate
    make_certificate
    COUNTERS=
    if command -v perf >/dev/null && perf stat -x, -e instructions true 2>&1 | grep -q '^[0-9]'; then
        COUNTERS=1
    else
        say "This machine counts no instructions: instructions_per_request is left out"
    fi
}

sysctl_of_network() { echo "$2" >"/proc/sys/net/ipv4/$1" 2>/dev/null || true; }

# The same key and certificate for all: ECDSA with P-256, made for this run.
make_certificate() {
    mkdir "$CERTIFICATE"
    cat >"$CERTIFICATE/settings" <<'CONF'
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = bench.test
[extensions]
subjectAltName = DNS:bench.test
basicConstraints = critical, CA:FALSE
CONF
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -config "$CERTIFICATE/settings" \
        -keyout "$CERTIFICATE/key.pem" -out "$CERTIFICATE/cert.pem" 2>/dev/null
    cat "$CERTIFICATE/cert.pem" "$CERTIFICATE/key.pem" >"$CERTIFICATE/both.pem"
}

# raise_files makes room for as many open files as there may be, and leaves out the cases for which those are too few.
raise_files() {
    local case kept=()
    ulimit -n "$FILES" 2>/dev/null || ulimit -n "$(ulimit -Hn)"
    FILES=$(ulimit -n)
    [ "$FILES" -lt "$FILES_OF_MANY" ] || return 0
    for case in "${cases[@]}"; do
        case $case in
            idle-20000 | upstreams-10000 | swap | swap-delta)
                say "$case is skipped: only $FILES files may be open, it needs $FILES_OF_MANY (ulimit -Hn)"
                ;;
            *) kept+=("$case") ;;
        esac
    done
    cases=("${kept[@]}")
}

# The logs of a measurement that failed outlive the namespace; the access log is left out, it may be large.
keep_logs() {
    local kept
    kept=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-bench-proxy.XXXXXX")
    find "${DIR:-$WORK}" -maxdepth 1 -type f ! -name 'access.log*' -exec cp {} "$kept" \;
    echo "$kept"
}

# --- measuring -------------------------------------------------------------------------------------------

start_backend() {
    taskset -c "$OTHER_CORES" "$BENCH" backend "0.0.0.0:$BACKEND_PORT" >"$WORK/backend.log" 2>&1 &
    BACKEND_PID=$!
    await "the backend" "$BENCH" answered "127.0.0.11:$BACKEND_PORT" --patience 5
}

# pin_backend CORES: with two threads, load and backend share the cores of the subject.
pin_backend() { taskset -pc "$1" "$BACKEND_PID" >/dev/null; }

subjects_of() {
    case $1 in
        swap) echo lb lb-at-rest ;;
        swap-delta) echo lb ;;
        *) echo "${SUBJECTS[@]}" ;;
    esac
}

rounds_of() {
    if [ "$1" = keepalive-3000rps ] && [ "$ROUNDS" -ge $ENOUGH ] && [ "$ROUNDS" -lt $ROUNDS_OF_LATENCY ]; then
        echo $ROUNDS_OF_LATENCY
    else
        echo "$ROUNDS"
    fi
}

measure_all() {
    local last=0 case rounds turn
    local -a subjects
    for case in "${cases[@]}"; do
        rounds=$(rounds_of "$case")
        [ "$rounds" -le "$last" ] || last=$rounds
    done
    for ((ROUND = 1; ROUND <= last; ROUND++)); do
        say "Round $ROUND of $last"
        for CASE in "${cases[@]}"; do
            [ "$ROUND" -le "$(rounds_of "$CASE")" ] || continue
            read -r -a subjects <<<"$(subjects_of "$CASE")"
            case $CASE in *-2t) pin_backend "$TWO_CORES" ;; *) pin_backend "$OTHER_CORES" ;; esac
            for ((turn = 0; turn < ${#subjects[@]}; turn++)); do
                SUBJECT=${subjects[(turn + ROUND - 1) % ${#subjects[@]}]}
                measure
            done
        done
    done
}

# --- all of it -------------------------------------------------------------------------------------------

raise_files
set_up
start_backend
say "Beside $(/usr/sbin/nginx -v 2>&1 | sed 's/.*: //') and $(/usr/sbin/haproxy -v | sed -n '1s/HAProxy version \([^ ]*\).*/HAProxy \1/p'), subjects on core $FIRST_CORE, load on $OTHER_CORES, access logs $ACCESS_LOG, $ROUNDS rounds"
measure_all
write_figures
table
MEASURED=1
status=0
bounds || status=1
exit "$status"
