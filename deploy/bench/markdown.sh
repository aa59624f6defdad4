#!/usr/bin/env bash
# Makes the tables of docs/measurements.md of what deploy/bench.sh wrote.
#
#   markdown.sh FILE SUITE
set -euo pipefail

FILE=$1 SUITE=$2

# One object a line, as bench.sh writes them: "key": value pairs, no value has a comma or a quote in it.
awk -v suite="$SUITE" '
    function value(key,    rest) {
        rest = $0
        if (!sub(".*\"" key "\": *\"?", "", rest)) return ""
        sub(/[",}].*/, "", rest)
        return rest
    }
    function shown(number) { return sprintf(number + 0 >= 100 ? "%.0f" : number + 0 >= 10 ? "%.1f" : "%.2f", number) }
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
