#!/usr/bin/env bash
# The suite `loadtest` of deploy/bench.sh, which is how it is started: the load tester itself, beside wrk, hey and,
# where it is installed, oha. They ask nginx, on a processor of its own, for a file of a few bytes.
#
#   peak      closed loop, 64 connections that are kept: requests for each second of processor time that the client
#             used, which is what one core of it can do
#   schedule  10,000 requests a second over kept connections, on one core: how late they were sent, and how many
#             were not
#   stall     2,500 requests a second while nginx stands still for STALL seconds: nothing fails, and the most memory it took
#   memory    the same as `schedule` for MINUTES (1; --minutes 10 for the length that the bound is meant for), and the
#             most memory it took
#
# Each client has one processor, nginx another.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=deploy/bench/common.sh
. "$ROOT/deploy/bench/common.sh"

ALL=(peak schedule stall memory)
MINUTES=${MINUTES:-1}
PORT=18099
URL=http://127.0.0.1:$PORT/
CONNECTIONS=64
# How long each client is measured at its peak, in seconds, and how long the schedule is.
SECONDS_PEAK=5
SECONDS_SCHEDULE=20
RATE=10000
# How long nginx stands still, in seconds, of how many; what a request may take meanwhile. Fewer wait then than a listener
# holds (net.core.somaxconn is 4096): with more, what is measured is how often the kernel repeats a SYN.
RATE_STALL=2500
STALL=1.5
SECONDS_STALL=8
TIMEOUT=4s
# Ours must reach this share of wrk's peak, be this late at most (p99, in ms), and take this much memory, in MB.
LEAST_OF_WRK=0.7
MOST_LATE=2
MOST_MEMORY=100
# What is not in order after so many seconds never will be.
PATIENCE=30
# A schedule that could not be kept (the machine had other work) is measured again so often.
REPEATS=3

choose_cases "${ALL[@]}"
need wrk:wrk hey:hey /usr/sbin/nginx:nginx-light curl:curl taskset:util-linux
[ -x "$HOLDFAST_BIN/loadtest" ] || STATUS=3 die "there is no loadtest in $HOLDFAST_BIN"
[ "$(nproc)" -ge 2 ] || STATUS=3 die "this needs two processors: one for nginx, one for its clients"

WORK=$(mktemp -d)
RESULTS=$WORK/results MEASURED=0 NGINX=''
: >"$RESULTS"
# shellcheck disable=SC2317 # called by the trap
finish() {
    local status=$?
    trap '' INT TERM
    [ -z "$NGINX" ] || kill "$NGINX" 2>/dev/null || true
    rm -rf "$WORK"
    # 1 is for a bound that was missed, and only a finished run can say so.
    [ "$status" != 1 ] || [ "$MEASURED" = 1 ] || status=3
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# shellcheck disable=SC2317 # called by await
keep_logs() { cp -r "$WORK" "$WORK.kept" && echo "$WORK.kept"; }

start_nginx() {
    cat >"$WORK/nginx.conf" <<EOF
worker_processes 1;
worker_rlimit_nofile 65536;
daemon off;
pid $WORK/nginx.pid;
error_log $WORK/error.log;
events { worker_connections 32768; }
http {
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path $WORK/body;
    proxy_temp_path $WORK/proxy;
    fastcgi_temp_path $WORK/fastcgi;
    uwsgi_temp_path $WORK/uwsgi;
    scgi_temp_path $WORK/scgi;
    server {
        listen 127.0.0.1:$PORT backlog=8192;
        location / { default_type application/json; return 200 '{"value": 1}'; }
    }
}
EOF
    taskset -c 0 /usr/sbin/nginx -p "$WORK" -c "$WORK/nginx.conf" &
    NGINX=$!
    await nginx curl -sf -o /dev/null "$URL"
}

# --- what is measured ------------------------------------------------------------------------------------

# Each prints how many requests it made.
ask_loadtest() {
    "$HOLDFAST_BIN/loadtest" "$URL" --users $CONNECTIONS --duration ${SECONDS_PEAK}s --keep-alive \
        --json "$WORK/peak.json" >"$WORK/loadtest.log" 2>&1
    sed -n 's/^  "succeeded": \([0-9]*\),*$/\1/p' "$WORK/peak.json"
}
ask_wrk() {
    wrk -t 1 -c $CONNECTIONS -d ${SECONDS_PEAK}s "$URL" | sed -n 's/^ *\([0-9]*\) requests in .*/\1/p'
}
ask_hey() {
    hey -cpus 1 -c $CONNECTIONS -z ${SECONDS_PEAK}s "$URL" | sed -n 's/^ *\[200\]\t*\([0-9]*\) responses/\1/p'
}
ask_oha() {
    oha --no-tui -c $CONNECTIONS -z ${SECONDS_PEAK}s "$URL" | sed -n 's/^ *\[200\] \([0-9]*\) responses/\1/p'
}

# peak SUBJECT
peak() {
    local asked used rate
    # The processor time of the client and of nothing else: it is the only child of this shell's child.
    used=$(
        TIMEFORMAT='%U %S'
        { time taskset -c 1 bash -c "$(declare -f "ask_$1"); ask_$1" >"$WORK/asked" 2>"$WORK/$1.log"; } 2>&1
    )
    asked=$(tail -n 1 "$WORK/asked")
    [ -n "$asked" ] || STATUS=3 die "$1 says nothing of its requests; the logs are in $(keep_logs)"
    rate=$(awk -v asked="$asked" -v used="$used" 'BEGIN { split(used, t, " "); printf "%.0f", asked / (t[1] + t[2]) }')
    result peak "$1" requests_per_cpu_s "$rate"
    result peak "$1" requests_per_s $((asked / SECONDS_PEAK))
    printf '  peak      %-9s %8d requests, %8.0f for each second of its processor time\n' "$1" "$asked" "$rate" >&2
}

# of KEY prints a number of the last report; `p99` is that of the lateness.
of() { sed -n "s/^  \"$1\": \([0-9.]*\),*$/\1/p" "$WORK/report.json"; }
late() { awk '/^  "lateness_ms"/ { on = 1 } /^  }/ { on = 0 } on && $1 == "\"p99\":" { print $2 + 0 }' "$WORK/report.json"; }

# on_schedule SECONDS [OPTION…] leaves a report, and in `memory` the most memory that it took, in MB.
on_schedule() {
    local client now
    taskset -c 1 "$HOLDFAST_BIN/loadtest" "$URL" --rate "${rate:-$RATE}" --duration "$1s" --keep-alive "${@:2}" \
        --json "$WORK/report.json" >"$WORK/loadtest.log" 2>&1 &
    client=$!
    memory=0
    while now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$client/status" 2>/dev/null); do
        [ -n "$now" ] || break
        memory=$(awk -v kb="$now" 'BEGIN { printf "%.1f", kb / 1024 }')
        sleep 0.5
    done
    wait "$client" || true
}

# counted SECONDS [OPTION…] is on_schedule, again and again until the schedule was kept.
counted() {
    local attempt
    for attempt in $(seq $REPEATS); do
        on_schedule "$@"
        if grep -q '^  "valid": true' "$WORK/report.json"; then return 0; fi
        say "$case: attempt $attempt does not count: $(tail -n 2 "$WORK/loadtest.log" | tr '\n' ' ')"
    done
    STATUS=3 die "$case: no attempt counts; the logs are in $(keep_logs)"
}

schedule() {
    local memory
    counted $SECONDS_SCHEDULE
    result schedule loadtest late_p99_ms "$(late)"
    result schedule loadtest failed "$(of failed)"
    printf '  schedule  %s requests, %s failed, p99 of their lateness %s ms\n' "$(of sent)" "$(of failed)" "$(late)" >&2
}

# The fault ends by itself: nginx goes on whatever becomes of this script.
stall() {
    local memory worker rate=$RATE_STALL
    worker=$(tr -d ' ' <"/proc/$NGINX/task/$NGINX/children")
    counted $SECONDS_STALL --timeout $TIMEOUT --fault-timeout 30s \
        --fault "exec:kill -STOP $worker; sleep $STALL; kill -CONT $worker undo:kill -CONT $worker @2s"
    result stall loadtest most_mb "$memory"
    result stall loadtest failed "$(of failed)"
    printf '  stall     %s requests, %s failed, %s MB at most\n' "$(of sent)" "$(of failed)" "$memory" >&2
}

memory() {
    local memory
    on_schedule $((MINUTES * 60))
    result memory loadtest most_mb "$memory"
    printf '  memory    %s requests in %s min, %s MB at most\n' "$(of sent)" "$MINUTES" "$memory" >&2
}

# --- figures ---------------------------------------------------------------------------------------------

result() { printf '%s\t%s\t%s\t%s\n' "$@" >>"$RESULTS"; }

# figures CASE SUBJECT METRIC prints median, least, most and how many.
figures() {
    awk -F'\t' -v case="$1" -v subject="$2" -v metric="$3" \
        '$1 == case && $2 == subject && $3 == metric { print $4 }' "$RESULTS" | sort -n \
        | awk '{ v[NR] = $1 } END { if (NR) printf "%.2f %.2f %.2f %d\n",
            NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2, v[1], v[NR], NR }'
}

median() { figures "$@" | cut -d ' ' -f 1; }

write_figures() {
    local case subject metric unit median least most n
    while IFS=$'\t' read -r case subject metric; do
        unit=count
        case $metric in *_ms) unit=ms ;; *_mb) unit=MB ;; *_s) unit=requests/s ;; esac
        read -r median least most n < <(figures "$case" "$subject" "$metric")
        printf '{"suite": "loadtest", "case": "%s", "subject": "%s", "metric": "%s", "unit": "%s", "median": %s, "min": %s, "max": %s, "n": %d}\n' \
            "$case" "$subject" "$metric" "$unit" "$median" "$least" "$most" "$n" >>"$FIGURES"
    done < <(cut -f 1-3 "$RESULTS" | sort -u)
}

# bound WHAT VALUE COMPARISON LIMIT
bound() {
    local verdict=met
    if ! awk -v a="$2" -v b="$4" "BEGIN { exit !(a != \"\" && a $3 b) }"; then
        verdict=MISSED missed=1
    fi
    printf '  %-60s %10s, wanted %s %s: %s\n' "$1" "$2" "$3" "$4" "$verdict"
}

bounds() {
    local missed=0 subject share
    printf '\nMedians of %s rounds and their bounds\n' "$ROUNDS"
    if [[ " ${cases[*]} " == *" peak "* ]]; then
        for subject in "${SUBJECTS[@]}"; do
            printf '  %-60s %10.0f\n' "$subject: requests for each second of processor time" \
                "$(median peak "$subject" requests_per_cpu_s)"
        done
        share=$(awk -v a="$(median peak loadtest requests_per_cpu_s)" -v b="$(median peak wrk requests_per_cpu_s)" \
            'BEGIN { printf "%.2f", a / b }')
        bound "loadtest's share of wrk's" "$share" '>=' $LEAST_OF_WRK
    fi
    if [[ " ${cases[*]} " == *" schedule "* ]]; then
        bound "late at $RATE requests/s (p99), ms" "$(median schedule loadtest late_p99_ms)" '<=' $MOST_LATE
        bound "failed" "$(median schedule loadtest failed)" '<=' 0
    fi
    if [[ " ${cases[*]} " == *" stall "* ]]; then
        bound "memory while nginx stands still for $STALL s, MB" "$(median stall loadtest most_mb)" '<' $MOST_MEMORY
        bound "failed" "$(median stall loadtest failed)" '<=' 0
    fi
    if [[ " ${cases[*]} " == *" memory "* ]]; then
        bound "memory of $MINUTES min at $RATE requests/s, MB" "$(median memory loadtest most_mb)" '<' $MOST_MEMORY
    fi
    return $missed
}

# --- all of it -------------------------------------------------------------------------------------------

export URL CONNECTIONS SECONDS_PEAK WORK
start_nginx
SUBJECTS=(loadtest wrk hey)
! command -v oha >/dev/null || SUBJECTS+=(oha)
say "Beside $(wrk --version 2>&1 | sed -n 's/^\(wrk [^ ]*\) .*/\1/p'), hey and $(/usr/sbin/nginx -v 2>&1 | sed 's/.*: //'), $ROUNDS rounds"
for ((round = 1; round <= ROUNDS; round++)); do
    for case in "${cases[@]}"; do
        case $case in
            peak) for subject in "${SUBJECTS[@]}"; do peak "$subject"; done ;;
            schedule) schedule ;;
            stall) stall ;;
            # It takes MINUTES, and its figure does not depend on chance.
            memory) [ "$round" -gt 1 ] || memory ;;
        esac
    done
done
write_figures
MEASURED=1
bounds
