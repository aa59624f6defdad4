#!/usr/bin/env bash
# Measures Holdfast side by side with its peers.
#
#   deploy/bench.sh SUITE… [--json FILE] [--rounds N] [--case NAME]… [--steady MINUTES] [--minutes N] [--yes]
#
#   vip         how long the public address is away from its clients when something breaks, beside keepalived
#   faults      what clients notice when one of four backends fails, beside nginx and HAProxy
#   resilience  what clients notice of slow requests, a slow backend, an outage of all and sets swapped fast
#   loadtest    the load tester itself: its peak, its schedule and its memory, beside wrk, hey and oha
#   soak        kills, freezes, swaps, hand-overs and bad clients at random, and what is left behind by them
#   proxy       what a request and a connection cost, in processor time and memory, beside nginx and HAProxy
#   tcp         the same of connections that are passed on as they come, by us or by the kernel, beside HAProxy's TCP mode and
#               nginx's streams
#   engine      what an event costs the manager's engine, with 10, 1,000 and 10,000 machines
#   manager     what a manager with 200 namespace machines costs: at rest, while machines die, while 500 watch
#   vrrp        what a balancer with 50 virtual routers costs, and how fast another one takes over
#
#   --json FILE        also write the figures as JSON, a list of
#                      {suite, case, subject, metric, unit, median, min, max, n}
#   --rounds N         how often each case is measured with each subject (vip 10, faults 5, resilience 3, loadtest 5,
#                      proxy 5, tcp 5, engine 5, manager 3, vrrp 5)
#   --case NAME        only this case; may be given several times
#   --steady MINUTES   also let the address be held for so long with all processors busy, and count how
#                      often it moves
#   --minutes N        how long `soak` goes on (10), and the run of `loadtest` whose memory is looked at (1)
#   --yes              do not ask before installing Rust
#
# HOLDFAST_BIN is the directory of the programs to measure; without it they are built, optimized.
# SOAK_SEED is what `soak` printed: the same is done at the same times again.
# BENCH_ACCESS_LOG=off has nobody write an access log in `proxy` and `tcp`; BENCH_LB_POOL is a line for the policy of our pool there.
#
# Exit code: 0 every bound is met, 1 one is missed, 2 bad arguments, 3 a measurement failed, 130 interrupted.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SUITES=(vip faults resilience loadtest soak proxy tcp engine manager vrrp)
declare -A DEFAULT_ROUNDS=([vip]=10 [faults]=5 [resilience]=3 [loadtest]=5 [soak]=1 [proxy]=5 [tcp]=5 [engine]=5 [manager]=3 [vrrp]=5)

suites=() JSON='' rounds='' CASES='' STEADY=0 MINUTES='' YES=0
number() { case $2 in '' | *[!0-9]* | 0*) STATUS=2 die "$1 expects a whole number above 0, not '$2'" ;; esac; }
while [ $# -gt 0 ]; do
    case $1 in
        --json) [ -n "${2:-}" ] || STATUS=2 die "--json expects a file"; JSON=$2 ;;
        --rounds) number "$1" "${2:-}" && rounds=$2 ;;
        --steady) number "$1" "${2:-}" && STEADY=$2 ;;
        --minutes) number "$1" "${2:-}" && MINUTES=$2 ;;
        --case) [ -n "${2:-}" ] || STATUS=2 die "--case expects a name"; CASES+=" $2" ;;
        --yes) YES=1 ;;
        -h | --help) help_of "$0" && exit 0 ;;
        -*) STATUS=2 die "unknown argument $1; --help shows what there is" ;;
        *)
            [[ " ${SUITES[*]} " == *" $1 "* ]] || STATUS=2 die "there is no suite '$1'; there are: ${SUITES[*]}"
            suites+=("$1")
            ;;
    esac
    case $1 in --json | --rounds | --steady | --minutes | --case) shift ;; esac
    shift
done
[ ${#suites[@]} -gt 0 ] || STATUS=2 die "say which suite: ${SUITES[*]}"
if [ -n "$JSON" ]; then
    { : >>"$JSON"; } 2>/dev/null || STATUS=2 die "cannot write $JSON"
    JSON=$(readlink -f "$JSON")
fi
export CASES STEADY MINUTES YES

need_programs

# Each suite prints its tables and leaves its figures in FIGURES, one JSON object a line.
FIGURES=$(mktemp)
export FIGURES
trap 'rm -f "$FIGURES"' EXIT
status=0
for suite in "${suites[@]}"; do
    export ROUNDS=${rounds:-${DEFAULT_ROUNDS[$suite]}}
    "$ROOT/deploy/bench/$suite.sh" || { code=$? && [ "$code" = 1 ] && status=1; } || exit "$code"
done
[ -z "$JSON" ] || { echo '[' && sed '$!s/$/,/; s/^/  /' "$FIGURES" && echo ']'; } >"$JSON"
exit "$status"
