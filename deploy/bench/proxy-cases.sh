# shellcheck shell=bash
# The cases of the suite `proxy`: what is sent in each, and what is noted of it. It is sourced.

# Seconds that a load is sent, and before it to warm up.
SECONDS_OF_LOAD=3
SECONDS_OF_WARMING=0.5

# Upstreams that are changed one at a time, in a second.
CHANGES_PER_SECOND=200

# What wrk and h2load send along, as `bench load` does.
FIELDS=(-H 'User-Agent: bench' -H 'Accept: */*')

# Cases in which a subject should have no time left; where it has, the load was the limit or somebody else had its core, and
# that is said. With two threads it shares all there is with the load, and how much it had says nothing.
# shellcheck disable=SC2034 # the bounds'
SATURATED=(keepalive-saturated post-keepalive tls-keepalive h2 upstreams-2 upstreams-100 upstreams-10000)

# on_load_cores COMMAND…
on_load_cores() { timeout -k 5 120 taskset -c "$LOAD_CORES" "$@"; }

# metered COMMAND… leaves in DIR/load what the command printed, and in DIR/meter what the subject used.
metered() {
    local counters=()
    if [ -n "$COUNTERS" ]; then
        counters=(perf stat -x ',' -e instructions -o "$DIR/instructions"
            -p "$("$BENCH" processes "$SUBJECT_PID" | paste -sd ',')" --)
    fi
    on_load_cores "$BENCH" meter --pid "$SUBJECT_PID" --out "$DIR/meter" -- "${counters[@]}" "$@" \
        >"$DIR/load" 2>"$DIR/load.err"
}

# bench_load ARGUMENT… is our own load.
bench_load() { metered "$BENCH" load "$@" --duration "$SECONDS_OF_LOAD"; }

# wrk_load URL… is wrk's, with its report brought into the form of ours.
wrk_load() {
    metered wrk -c 64 -d "${SECONDS_OF_LOAD}s" -t "$THREADS" --timeout 5s "${FIELDS[@]}" "$@" || return 1
    awk '
        / requests in / { print "requests", $1 }
        /Requests\/sec:/ { print "rate", $2 }
        /Socket errors:/ { gsub(/[^0-9 ]/, ""); for (i = 1; i <= NF; i++) bad += $i }
        /Non-2xx or 3xx responses:/ { bad += $NF }
        END { print "failed", bad + 0 }' "$DIR/load" >"$DIR/load.ours"
    {
        cat "$DIR/load.ours"
        awk '$1 == "requests" { n = $2 } $1 == "rate" { r = $2 } END { print "seconds", r ? n / r : 0 }' "$DIR/load.ours"
    } >"$DIR/load"
}

# h2_load URL is h2load's: one connection with 100 streams.
h2_load() {
    metered h2load -D "$SECONDS_OF_LOAD" -c 1 -m 100 -t 1 "${FIELDS[@]}" "$@" || return 1
    awk '
        /^finished in/ { rate = $4 }
        /^requests:/ { requests = $8; failed = $10 + $12 + $14 }
        /^status codes:/ { failed += $5 + $7 + $9 }
        END { print "requests", requests; print "failed", failed + 0
              print "seconds", rate ? requests / rate : 0 }' "$DIR/load" >"$DIR/load.ours"
    mv "$DIR/load.ours" "$DIR/load"
}

# warm_up [ARGUMENT…]
warm_up() {
    on_load_cores "$BENCH" load "$PLAIN_AT" --duration "$SECONDS_OF_WARMING" "$@" >/dev/null
}

# note_load notes what there is to say of every load. It fails if the load does not count.
note_load() {
    local requests failed
    requests=$(of load requests) failed=$(of load failed)
    if [ "${requests:-0}" -eq 0 ] || [ "${failed:-1}" -ne 0 ]; then
        say "$CASE, $SUBJECT: ${requests:-no} requests, ${failed:-all} failed"
        return 1
    fi
    note cpu_us_per_request us "$(ratio "$(of meter cpu_us)" "$requests")"
    note requests_per_s 1/s "$(ratio "$requests" "$(of load seconds)")"
    note utilisation cores "$(of meter utilisation)"
    note waiting cores "$(of meter waiting)"
    note steal share "$(of meter steal)"
    note rss_peak_kb KiB "$(of meter rss_peak_kb)"
    if [ -n "$COUNTERS" ]; then
        note instructions_per_request count \
            "$(ratio "$(awk -F, '/instructions/ { n += $1 } END { print n }' "$DIR/instructions")" "$requests")"
    fi
}

# note_latency notes what counts where the rate is fixed.
note_latency() {
    local quantile
    for quantile in p50_ms p99_ms p999_ms; do note "$quantile" ms "$(of load "$quantile")"; done
}

# idle COUNT TARGET [ARGUMENT…] measures what connections cost that do nothing.
idle() {
    local count=$1 to=("${@:2}") before held
    # Both sides need some files more.
    local most=$(((FILES - 500) / FILES_EACH))
    [ "$count" -le "$most" ] || count=$most
    on_load_cores "$BENCH" load "${to[@]}" --connections 16 --duration "$SECONDS_OF_WARMING" >/dev/null || return 1
    before=$("$BENCH" memory "$SUBJECT_PID")
    coproc HOLDER { on_load_cores "$BENCH" load "${to[@]}" --idle --connections "$count" 2>"$DIR/load.err"; }
    read -r -t 90 -u "${HOLDER[0]}" _ held || held=0
    if [ "$held" = "$count" ]; then
        note rss_kb KiB "$("$BENCH" memory "$SUBJECT_PID")"
        note kb_per_idle_connection KiB "$(ratio "$(($("$BENCH" memory "$SUBJECT_PID") - before))" "$count")"
    fi
    local out=${HOLDER[0]} in=${HOLDER[1]} pid=$HOLDER_PID
    exec {in}>&-
    held=0
    read -r -t 30 -u "$out" _ held || true
    exec {out}<&-
    wait "$pid" || return 1
    [ "$held" = "$count" ] || { say "$CASE, $SUBJECT: only $held of $count connections stayed open"; return 1; }
}

# swap: the same with new sets ten times a second, and without.
swap() {
    local pusher='' push=("$BENCH" push "127.0.0.1:$CHANGES_PORT" --upstreams 10000 --port "$BACKEND_PORT" --rate 10)
    on_load_cores "${push[@]}" --count 1 >/dev/null || return 1
    SECONDS_OF_WARMING=2 warm_up
    if [ "$SUBJECT" = lb ]; then
        on_load_cores "${push[@]}" --generation 2 --count $((10 * (2 * SECONDS_OF_LOAD + 3))) \
            >"$DIR/push" 2>"$DIR/push.err" &
        pusher=$!
    fi
    wrk_load "http://$PLAIN_AT/" && note_load || return 1
    bench_load "$PLAIN_AT" --rate 3000 && [ "$(of load failed)" = 0 ] && note_latency || return 1
    [ -z "$pusher" ] || wait "$pusher" || { say "pushing failed: $(cat "$DIR/push.err")"; return 1; }
    [ -z "$pusher" ] || note slowest_push_ms ms "$(of push slowest_ms)"
}

# swap_delta: upstreams changed one at a time, and what each change costs: beside the same time without.
swap_delta() {
    local rest push=("$BENCH" push "127.0.0.1:$CHANGES_PORT" --upstreams 10000 --port "$BACKEND_PORT")
    on_load_cores "${push[@]}" --count 1 >/dev/null || return 1
    SECONDS_OF_WARMING=2 warm_up
    metered sleep "$SECONDS_OF_LOAD" || return 1
    rest=$(of meter cpu_us)
    metered "${push[@]}" --generation 2 --one-by-one --rate "$CHANGES_PER_SECOND" \
        --count $((CHANGES_PER_SECOND * SECONDS_OF_LOAD)) || return 1
    note cpu_us_per_change us "$(ratio $(($(of meter cpu_us) - rest)) "$(of load pushes)")"
    note bytes_per_change B "$(of load bytes_per_push)"
    note slowest_push_ms ms "$(of load slowest_ms)"
    note rss_peak_kb KiB "$(of meter rss_peak_kb)"
}

# first_answer: how long it takes from its start to its first answer, how much memory it has then, and its size.
first_answer() {
    local begun at
    prepare "$SUBJECT" "$THREADS" 4 8192
    on_load_cores "$BENCH" answered "$PLAIN_AT" >"$DIR/at" &
    local asking=$!
    begun=${EPOCHREALTIME/[.,]/}
    launch "$SUBJECT"
    wait "$asking" || { say "$SUBJECT does not answer; the logs are in $(keep_logs)"; return 1; }
    at=$(cat "$DIR/at")
    note start_ms ms "$(ratio $((at - begun)) 1000)"
    check_owner "$SUBJECT"
    note rss_kb KiB "$("$BENCH" memory "$SUBJECT_PID")"
    note binary_kb KiB "$(ratio "$(stat -L -c %s "${PROGRAM[$SUBJECT]}")" 1024)"
}

# What a subject is told to have room for where there are 20,000 clients or upstreams: nginx begins to close idle ones
# before its table is full.
MANY=45000

# run_case measures CASE with SUBJECT once. It fails if what was measured does not count.
# shellcheck disable=SC2034 # which cores is the subjects' to know
run_case() {
    local upstreams=4 connections=8192 status=0
    THREADS=1
    SUBJECT_CORES=$FIRST_CORE LOAD_CORES=$OTHER_CORES
    case $CASE in
        *-2t) THREADS=2 SUBJECT_CORES=$TWO_CORES LOAD_CORES=$TWO_CORES ;;
        idle-20000) connections=$MANY ;;
        upstreams-10000 | swap | swap-delta) upstreams=10000 connections=$MANY ;;
        upstreams-*) upstreams=${CASE#upstreams-} ;;
    esac
    if [ "$CASE" != start ]; then
        start_subject "${SUBJECT%-at-rest}" "$THREADS" "$upstreams" "$connections"
    fi
    load_case || status=1
    [ $status = 0 ] || say "$CASE, $SUBJECT: $(head -qn 5 "$DIR/load.err" 2>/dev/null | tr '\n' ' ')$(tail -n 3 "$DIR/proxy.log" | tr '\n' ' ')"
    end_subject
    return $status
}

load_case() {
    local tls=(--tls "$CERTIFICATE/cert.pem")
    case $CASE in
        keepalive-saturated | keepalive-saturated-2t | upstreams-2 | upstreams-100)
            warm_up && wrk_load "http://$PLAIN_AT/" && note_load
            ;;
        upstreams-10000) SECONDS_OF_WARMING=2 warm_up && wrk_load "http://$PLAIN_AT/" && note_load ;;
        keepalive-3000rps) warm_up && bench_load "$PLAIN_AT" --rate 3000 && note_load && note_latency ;;
        post-keepalive) warm_up --post 100 && bench_load "$PLAIN_AT" --post 100 && note_load ;;
        new-connection) warm_up --fresh && bench_load "$PLAIN_AT" --fresh --connections 32 && note_load ;;
        tls-keepalive) warm_up && wrk_load "https://$TLS_AT/" && note_load ;;
        tls-handshake)
            warm_up && bench_load "$TLS_AT" "${tls[@]}" --fresh --connections 32 && note_load && handshakes resumed 0
            ;;
        tls-resumed)
            warm_up && bench_load "$TLS_AT" "${tls[@]}" --resume --fresh --connections 32 && note_load \
                && handshakes full 64
            ;;
        h2) warm_up && h2_load "https://$TLS_AT/" && note_load ;;
        body-1m) warm_up && bench_load "$PLAIN_AT" --path /big --connections 8 && note_load ;;
        body-100m) warm_up && bench_load "$PLAIN_AT" --path /huge --connections 2 && note_load ;;
        upload-1m) warm_up && bench_load "$PLAIN_AT" --post $((1 << 20)) --connections 8 && note_load ;;
        post-64k) warm_up && bench_load "$PLAIN_AT" --path /echo --post $((64 << 10)) --connections 16 && note_load ;;
        idle-tls-*) idle "${CASE##*-}" "$TLS_AT" "${tls[@]}" ;;
        idle-*) idle "${CASE##*-}" "$PLAIN_AT" ;;
        swap) swap ;;
        swap-delta) swap_delta ;;
        start) first_answer ;;
    esac
}

# handshakes resumed|full MOST: no more of them may be of this kind, or the case is not what it says.
handshakes() {
    local all resumed count
    all=$(of load handshakes) resumed=$(of load resumed)
    if [ "$1" = resumed ]; then count=$resumed; else count=$((all - resumed)); fi
    [ "$count" -le "$2" ] || { say "$CASE, $SUBJECT: $count of $all handshakes were $1"; return 1; }
}
