#!/usr/bin/env bash
# The suite `vip` of deploy/bench.sh, which is how it is started: how long the public address is away from
# a client that opens a connection every 5 ms, when something breaks. docs/measurements.md says what is
# broken how, and what a blackout is.
#
# Every measurement has a lab of its own, made and ended for it, so that none suffers from what was broken
# before. The subjects take turns within each case.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=deploy/bench/common.sh
. "$ROOT/deploy/bench/common.sh"

VIP=192.168.10.120
LAB_SH=$ROOT/deploy/lab.sh
PEER_SH=$ROOT/deploy/bench/keepalived.sh
FAULT_SH=$ROOT/deploy/bench/vip-fault.sh

SUBJECTS=(lb keepalived-1s keepalived-100ms)
BLACKOUTS=(machine-killed proxy-killed orderly-stop proxy-hung machine-frozen host-cut)
# keepalived has nothing like it: only ours is measured.
ALL=("${BLACKOUTS[@]}" switchover)

# The longest median blackout of ours, in ms, and of keepalived's with the same interval, as a factor.
declare -A BOUND=([machine-killed]=60 [proxy-killed]=60 [orderly-stop]=60
    [proxy-hung]=400 [machine-frozen]=400 [host-cut]=400)
declare -A FACTOR=([proxy-hung]=1.15 [machine-frozen]=1.15 [host-cut]=1.15)
EQUAL=keepalived-100ms

# A lab that is not in order after so many seconds never will be.
PATIENCE=60
# A measurement that does not count (the client could not keep its pace) is repeated so often.
REPEATS=3

LABS=${TMPDIR:-/tmp}/holdfast-bench-$(id -u)
LAB=''

# --- labs --------------------------------------------------------------------------------------------

# make_lab SUBJECT starts two hosts of it and waits until one holds the address and the other listens.
make_lab() {
    local bare=0
    [ "$1" = lb ] || bare=1
    LAB=$(mktemp -d "$LABS.XXXXXX")
    # The lab ends with this descriptor, and so with this script, whatever happens to it.
    exec 9> >(HOLDFAST_BARE=$bare HOLDFAST_MACHINES=namespaces exec setsid "$LAB_SH" up "$LAB" >"$LAB/lab.log" 2>&1)
    await "the hosts" test -e "$LAB/up"
    case $1 in
        lb)
            "$LAB_SH" wait "$LAB" "$PATIENCE" 9>&-
            await "holder and standby" one_holds_and_one_listens
            ;;
        keepalived-*) make_keepalived "${1#keepalived-}" ;;
    esac
    await "the service" in_lab client curl -sf -m 1 -o /dev/null "http://$VIP/random/number"
}

# Either may hold it: whoever was ready first.
one_holds_and_one_listens() {
    local states
    states=$(in_lab client curl -sf -m 1 http://192.168.10.10:8080/vip http://192.168.10.20:8080/vip)
    [[ $states == *'"state":"master"'* && $states == *'"state":"backup"'* ]]
}

# The service of keepalived's proxies runs where no fault reaches it.
make_keepalived() {
    local interval host
    case $1 in *ms) interval=0.${1%00ms} ;; *s) interval=${1%s} ;; esac
    in_lab switch setsid --fork "$HOLDFAST_BIN/stateless" </dev/null >"$LAB/service.log" 2>&1
    for host in a b; do
        # On its own there: a parent out here would be stopped along with the machine.
        in_lab "$host" setsid --fork "$PEER_SH" "$LAB" "$host" "$interval" </dev/null >"$LAB/$host/start.log" 2>&1
        case $host in
            a) await "the master" grep -q 'Entering MASTER STATE' "$LAB/a/keepalived.log" ;;
            b) await "the backup" grep -q 'Entering BACKUP STATE' "$LAB/b/keepalived.log" ;;
        esac
    done
    for host in a b; do
        await "the check of $host" grep -q 'VRRP_Script(proxy_answers) succeeded' "$LAB/$host/keepalived.log"
    done
}

in_lab() { "$LAB_SH" exec "$LAB" "$@" 9>&-; }

# What is needed to find out why, out of the lab that is about to be removed.
keep_logs() {
    local kept=$LAB.logs
    mkdir -p "$kept"
    (cd "$LAB" && find . \( -name '*.log' -o -name '*.toml' -o -name '*.conf' \) -exec cp --parents {} "$kept" \;)
    echo "$kept"
}

end_lab() {
    [ -n "$LAB" ] || return 0
    "$LAB_SH" down "$LAB" || true
    exec 9>&-
    rm -rf "$LAB"
    LAB=''
}

# --- measuring ---------------------------------------------------------------------------------------

# blackout SUBJECT CASE prints the longest time between two answers in a row, in ms, around the fault.
blackout() {
    local subject=$1 case=$2 moment report=$LAB/report.json
    # At no particular moment of anybody's interval.
    moment=$((1000 + RANDOM % 1000))
    in_lab client "$HOLDFAST_BIN/loadtest" "http://$VIP/random/number" --fresh --rate 200 --duration 3s \
        --timeout 500ms --fault "exec:$FAULT_SH $LAB $subject $case @${moment}ms" --json "$report" \
        >"$LAB/loadtest.log" 2>&1 || return 1
    sed -n 's/^ *"unanswered_ms": \([0-9.]*\),*$/\1/p' "$report"
}

# failed_in_switchover prints how many of 500 requests a second fail when the address is handed over.
failed_in_switchover() {
    local report=$LAB/report.json
    # On a host, from which managers take changes.
    local order="$LAB_SH exec $LAB a $HOLDFAST_BIN/manager --config $LAB/a/manager.toml switchover"
    in_lab client "$HOLDFAST_BIN/loadtest" "http://$VIP/random/number" --rate 500 --duration 8s --timeout 2s \
        --fault "exec:$order >&2 && echo '{\"fault\": \"switchover\"}' @2s" --json "$report" \
        >"$LAB/loadtest.log" 2>&1 || return 1
    sed -n 's/^  "failed": \([0-9]*\),*$/\1/p' "$report"
}

# measure SUBJECT CASE adds a figure to RESULTS.
measure() {
    local value attempt unit=ms measured=(blackout "$1" "$2")
    [ "$2" != switchover ] || unit=failed measured=(failed_in_switchover)
    for attempt in $(seq $REPEATS); do
        make_lab "$1"
        if value=$("${measured[@]}") && [ -n "$value" ]; then
            end_lab
            printf '%s\t%s\t%s\n' "$2" "$1" "$value" >>"$RESULTS"
            printf '  %-15s %-17s %8.1f %s\n' "$2" "$1" "$value" "$unit" >&2
            return 0
        fi
        say "$2, $1: attempt $attempt does not count: $(tail -n 2 "$LAB/loadtest.log" | tr '\n' ' ')"
        [ "$attempt" -lt $REPEATS ] || STATUS=3 die "$2, $1: no attempt counts; the logs are in $(keep_logs)"
        end_lab
    done
}

# steady MINUTES counts how often the address moves without cause while every processor is busy.
steady() {
    local hogs=() moves before
    make_lab lb
    before=$(terms)
    for _ in $(seq "$(nproc)"); do
        sh -c 'while :; do :; done' 9>&- &
        hogs+=($!)
    done
    HOGS=("${hogs[@]}")
    say "Steady: the address is held for $1 min with $(nproc) busy processors"
    in_lab client "$HOLDFAST_BIN/loadtest" "http://$VIP/random/number" --rate 100 --duration "$1m" \
        --timeout 2s >"$LAB/loadtest.log" 2>&1 || true
    kill "${hogs[@]}"
    HOGS=()
    moves=$(($(terms) - before))
    end_lab
    printf 'steady\tlb\t%s\n' "$moves" >>"$RESULTS"
}

# How often any balancer became the holder, by their own words, those of balancers that died included.
terms() {
    find "$LAB/a/state" "$LAB/b/state" -type f \( -path '*-lb/console.log' -o -path '*/consoles/*-lb*' \) -exec cat {} + \
        | awk '/-> Master/ { terms++ } END { print terms + 0 }'
}

# --- figures -----------------------------------------------------------------------------------------

# figures CASE SUBJECT prints median, least, most and how many.
figures() {
    awk -F'\t' -v case="$1" -v subject="$2" '$1 == case && $2 == subject { print $3 }' "$RESULTS" | sort -n \
        | awk '{ v[NR] = $1 } END { if (NR) printf "%.1f %.1f %.1f %d\n",
            NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2, v[1], v[NR], NR }'
}

figure() {
    local case=$1 subject=$2 metric=$3 unit=$4 median least most n
    read -r median least most n < <(figures "$case" "$subject") || return 0
    printf '{"suite": "vip", "case": "%s", "subject": "%s", "metric": "%s", "unit": "%s", "median": %s, "min": %s, "max": %s, "n": %d}\n' \
        "$case" "$subject" "$metric" "$unit" "$median" "$least" "$most" "$n" >>"$FIGURES"
}

# exceeds A B: A is more than B.
exceeds() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > b) }'; }

# subjects_of CASE: who is measured in it.
subjects_of() { if [ "$1" = switchover ]; then echo lb; else echo "${SUBJECTS[@]}"; fi; }

table() {
    local case subject ours median least most n bound factor said row verdict missed=0
    printf '\nBlackout of the address in ms: median (least to most of %s)\n\n%-15s' "$ROUNDS" ''
    printf ' %24s' "${SUBJECTS[@]}"
    printf '  %9s  %s\n' "$EQUAL/lb" 'bound of lb'
    for case in "${cases[@]}"; do
        [ "$case" != switchover ] || continue
        printf '%-15s' "$case"
        ours='' row=''
        for subject in "${SUBJECTS[@]}"; do
            read -r median least most n < <(figures "$case" "$subject")
            printf ' %24s' "$median ($least to $most)"
            case $subject in lb) ours=$median ;; "$EQUAL") row=$median ;; esac
        done
        bound=${BOUND[$case]} factor=${FACTOR[$case]:-} verdict=met said="at most $bound"
        ! exceeds "$ours" "$bound" || verdict=MISSED
        if [ -n "$factor" ]; then
            said+=" and $factor of $EQUAL"
            ! exceeds "$ours" "$(awk -v a="$row" -v f="$factor" 'BEGIN { print a * f }')" || verdict=MISSED
        fi
        [ "$verdict" = met ] || missed=1
        printf '  %9s  %s: %s\n' "$(awk -v a="$row" -v b="$ours" 'BEGIN { printf "%.1f", a / b }')" "$said" "$verdict"
    done
    if [[ " ${cases[*]} " == *" switchover "* ]]; then
        read -r median least most n < <(figures switchover lb)
        verdict=met
        ! exceeds "$most" 0 || verdict=MISSED missed=1
        printf '\nRequests that failed in a switchover at 500/s: %.0f at most, in %s (bound: 0: %s)\n' "$most" "$n" "$verdict"
    fi
    if [ "$STEADY" != 0 ]; then
        read -r median _ < <(figures steady lb)
        verdict=met
        ! exceeds "$median" 0 || verdict=MISSED missed=1
        printf '\nMoves of the address in %s min with busy processors: %.0f (bound: 0: %s)\n' "$STEADY" "$median" "$verdict"
    fi
    return "$missed"
}

# --- all of it ---------------------------------------------------------------------------------------

choose_cases "${ALL[@]}"
need_lab
need keepalived:keepalived /usr/sbin/nginx:nginx-light
for program in lb manager stateless loadtest; do
    [ -x "$HOLDFAST_BIN/$program" ] || STATUS=3 die "there is no $program in $HOLDFAST_BIN"
done

RESULTS=$(mktemp) HOGS=() MEASURED=0
# shellcheck disable=SC2317 # called by the trap
finish() {
    local status=$?
    trap '' INT TERM
    [ ${#HOGS[@]} = 0 ] || kill "${HOGS[@]}" 2>/dev/null || true
    end_lab
    rm -f "$RESULTS"
    # 1 is for a bound that was missed, and only a finished run can say so.
    [ "$status" != 1 ] || [ "$MEASURED" = 1 ] || status=3
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Beside $(keepalived --version 2>&1 | sed -n '1s/ (.*//p') and $(/usr/sbin/nginx -v 2>&1 | sed 's/.*: //'), on $(nproc) processors, $ROUNDS rounds"
for ((round = 1; round <= ROUNDS; round++)); do
    say "Round $round of $ROUNDS"
    for case in "${cases[@]}"; do
        for subject in $(subjects_of "$case"); do measure "$subject" "$case"; done
    done
done
[ "$STEADY" = 0 ] || steady "$STEADY"

for case in "${cases[@]}"; do
    metric=(blackout ms)
    [ "$case" != switchover ] || metric=(failed requests)
    for subject in $(subjects_of "$case"); do figure "$case" "$subject" "${metric[@]}"; done
done
[ "$STEADY" = 0 ] || figure steady lb moves count
MEASURED=1
table
