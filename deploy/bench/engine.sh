#!/usr/bin/env bash
# The suite `engine` of deploy/bench.sh, which is how it is started: what an event costs the manager's engine, on hosts of
# 10, 1,000 and 10,000 machines. Its program, manager/benches/events, says which events those are.
#
# BENCH_PROFILE is the profile it is built with (release).
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=deploy/bench/common.sh
. "$ROOT/deploy/bench/common.sh"

ALL=(steady lost peer asked)

# Planning takes at most so long, in microseconds, in 99 of 100 events, however many machines there are.
BOUND=1000

choose_cases "${ALL[@]}"
need_build
MEASURED=0
RESULTS=$(mktemp)
trap 'leave_suite "$RESULTS"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

arguments=(--rounds "$ROUNDS")
for case in "${cases[@]}"; do arguments+=(--case "$case"); done
say "The engine alone, on one processor, $ROUNDS rounds"
(cd "$ROOT" && cargo bench --profile "${BENCH_PROFILE:-release}" --locked --quiet --workspace --bench events -- "${arguments[@]}") \
    >"$RESULTS" || STATUS=3 die "the engine cannot be measured"
cat "$RESULTS" >>"$FIGURES"
MEASURED=1

# A table for each number of machines; 1 is for a bound that was missed.
awk -v bound="$BOUND" "$READ_FIGURES"'
    {
        size = value("subject"); kind = value("case")
        if (!(size in sizes)) { sizes[size]; order[++count] = size }
        if (!((size, kind) in seen)) { seen[size, kind]; kinds[size] = kinds[size] (kinds[size] ? "|" : "") kind }
        median[size, kind, value("metric")] = value("median")
    }
    END {
        for (i = 1; i <= count; i++) {
            size = order[i]
            printf "\n%s machines (in microseconds)\n%-18s %12s %10s %10s %12s %10s\n", size, "", "plan median", "p99", "max", "event median", "events/s"
            number = split(kinds[size], list, "|")
            for (k = 1; k <= number; k++) {
                kind = list[k]; p99 = median[size, kind, "plan_p99_us"]
                verdict = p99 + 0 > bound ? "MISSED" : "met"
                if (verdict == "MISSED") missed = 1
                printf "%-18s %12.1f %10.1f %10.1f %12.1f %10.0f  p99 at most %d: %s\n", kind, median[size, kind, "plan_median_us"], p99,
                    median[size, kind, "plan_max_us"], median[size, kind, "event_median_us"], median[size, kind, "events_per_s"], bound, verdict
            }
        }
        exit missed
    }' "$RESULTS"
