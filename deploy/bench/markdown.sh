#!/usr/bin/env bash
# Makes the tables of docs/measurements.md of what deploy/bench.sh wrote.
#
#   markdown.sh FILE SUITE
set -euo pipefail
# shellcheck source=deploy/bench/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

FILE=$1 SUITE=$2

awk -v suite="$SUITE" "$READ_FIGURES"'
    /"suite"/ && value("suite") == suite {
        row = value("case") ": " value("metric") ", " value("unit"); subject = value("subject")
        if (!(row in rows)) { rows[row]; order[++count] = row }
        if (!(subject in subjects)) { subjects[subject]; heads[++width] = subject }
        cell[row, subject] = shown(value("median")) " (" shown(value("min")) " to " shown(value("max")) "; " value("n") ")"
    }
    END {
        if (!count) { print "no figures of the suite " suite > "/dev/stderr"; exit 1 }
        line = "| median (least to most; rounds) |"; rule = "|---|"
        for (i = 1; i <= width; i++) { line = line " " heads[i] " |"; rule = rule "---|" }
        print line "\n" rule
        for (r = 1; r <= count; r++) {
            line = "| " order[r] " |"
            for (i = 1; i <= width; i++)
                line = line " " ((order[r], heads[i]) in cell ? cell[order[r], heads[i]] : "") " |"
            print line
        }
    }' "$FILE"
