# shellcheck shell=bash
# How the suites that compare proxies go about it: on which cores, and a measurement again until it counts. It is sourced.
#
# Whoever sources it has run_case, which measures CASE with SUBJECT in ROUND and leaves its files in DIR and its figures in
# PENDING. Those that count go to RESULTS.

# A measurement that does not count is repeated so often.
REPEATS=3

# enter_namespaces starts SELF again, with the argument `inside`, where it may do everything.
enter_namespaces() {
    local program user=()
    for program in lb bench; do
        [ -x "$HOLDFAST_BIN/$program" ] || STATUS=3 die "there is no $program in $HOLDFAST_BIN"
    done
    [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
    exec unshare "${user[@]}" --net --mount --pid --mount-proc --fork --kill-child "$SELF" inside
}

# The cores that we may use.
cores() { taskset -pc $$ | sed 's/.*: //' | tr , '\n' | awk -F- '{ for (c = $1; c <= ($2 == "" ? $1 : $2); c++) print c }'; }

# share_cores CORE…: the first is the subject's, the others are the load's.
# shellcheck disable=SC2034 # for who sources this
share_cores() {
    [ $# -ge 2 ] || STATUS=3 die "at least two processors are needed, one for who is measured and one for the load"
    FIRST_CORE=$1
    OTHER_CORES=$(shift && IFS=, && echo "$*")
}

# of FILE NAME prints the number there.
of() { awk -v name="$2" '$1 == name { print $2 }' "$DIR/$1"; }

# note METRIC UNIT VALUE notes a figure of the case and subject that are being measured.
note() { printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$ROUND" "$CASE" "$SUBJECT" "$1" "$2" "$3" >>"$PENDING"; }

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.6f", b ? a / b : 0 }'; }

# measure: CASE with SUBJECT in ROUND, until it counts.
measure() {
    local attempt
    for attempt in $(seq $REPEATS); do
        : >"$PENDING"
        if run_case; then
            cat "$PENDING" >>"$RESULTS"
            awk -F'\t' -v who="$CASE $SUBJECT" '
                { text = text "  " $4 " " ($6 >= 100 ? int($6) : $6 + 0) }
                END { print "  " who ":" text }' "$PENDING" >&2
            return 0
        fi
        say "$CASE, $SUBJECT: attempt $attempt does not count"
    done
    STATUS=3 die "$CASE, $SUBJECT: no attempt counts"
}
