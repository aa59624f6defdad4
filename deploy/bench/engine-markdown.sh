#!/usr/bin/env bash
# Makes the table of docs/performance.md of what deploy/bench.sh engine wrote: a row for each kind of event, and for each
# number of machines how long a plan takes (median, 99 of 100, longest) and the whole event (median), in microseconds.
#
#   engine-markdown.sh FILE
set -euo pipefail
# shellcheck source=deploy/bench/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

awk "$READ_FIGURES"'
    /"suite"/ && value("suite") == "engine" {
        name = value("case"); size = value("subject")
        if (!(name in names)) { names[name]; order[++count] = name }
        if (!(size in sizes)) { sizes[size]; heads[++width] = size }
        cell[name, size, value("metric")] = shown(value("median"))
    }
    END {
        if (!count) { print "no figures of the suite engine" > "/dev/stderr"; exit 1 }
        line = "| plan: median, p99, max; event: median (us) |"; rule = "|---|"
        for (i = 1; i <= width; i++) { line = line " " heads[i] " machines |"; rule = rule "---|" }
        print line "\n" rule
        for (r = 1; r <= count; r++) {
            line = "| " order[r] " |"
            for (i = 1; i <= width; i++) {
                name = order[r]; size = heads[i]
                line = line " " cell[name, size, "plan_median_us"] ", " cell[name, size, "plan_p99_us"] ", " cell[name, size, "plan_max_us"] \
                    "; " cell[name, size, "event_median_us"] " |"
            }
            print line
        }
    }' "$1"
