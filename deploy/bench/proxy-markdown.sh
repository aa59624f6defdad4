#!/usr/bin/env bash
# Makes the tables of docs/performance.md of what deploy/bench.sh wrote: one for each metric, a row for each case.
#
#   proxy-markdown.sh FILE
set -euo pipefail
# shellcheck source=deploy/bench/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

FILE=$1

# Metrics in the order of their tables; what only says how the measurement went is left out.
METRICS='cpu_us_per_request instructions_per_request requests_per_s p50_ms p99_ms p999_ms kb_per_idle_connection rss_kb rss_peak_kb start_ms binary_kb'

awk -v metrics="$METRICS" "$READ_FIGURES"'
    function table(metric, wanted, subjects,    heads, width, i, r, line, rule, any) {
        width = split(subjects, heads, " ")
        line = "| median (least to most; rounds) |"; rule = "|---|"
        for (i = 1; i <= width; i++) { line = line " " heads[i] " |"; rule = rule "---|" }
        for (r = 1; r <= count; r++) {
            if ((order[r] == "swap") != wanted || !((order[r], metric, "lb") in cell)) continue
            if (!any++) print "**`" metric "`**, " unit[metric] "\n\n" line "\n" rule
            printf "| `%s` |", order[r]
            for (i = 1; i <= width; i++) printf " %s |", cell[order[r], metric, heads[i]]
            print ""
        }
        if (any) print ""
    }
    /"suite"/ && value("suite") == "proxy" {
        name = value("case"); metric = value("metric"); subject = value("subject")
        if (!(name in names)) { names[name]; order[++count] = name }
        if (value("unit") != "ratio") unit[metric] = value("unit")
        cell[name, metric, subject] = shown(value("median")) " (" shown(value("min")) " to " shown(value("max")) "; " value("n") ")"
    }
    END {
        if (!count) { print "no figures of the suite proxy" > "/dev/stderr"; exit 1 }
        number = split(metrics, list, " ")
        for (m = 1; m <= number; m++) table(list[m], 0, "lb nginx haproxy lb/nginx lb/haproxy")
        if (!("swap" in names)) exit
        print "While the set is swapped, beside the same at rest:\n"
        for (m = 1; m <= number; m++) table(list[m], 1, "lb lb-at-rest lb/lb-at-rest")
    }' "$FILE"
