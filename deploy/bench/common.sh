# shellcheck shell=bash
# What the suites of deploy/bench.sh do alike: choosing cases, and waiting for what takes a moment. It is sourced;
# whoever sources it has sourced deploy/lib.sh before.

# choose_cases CASE… leaves in `cases` those that were asked for (CASES), or all of these.
choose_cases() {
    local case
    read -r -a cases <<<"${CASES:-$*}"
    for case in "${cases[@]}"; do
        [[ " $* " == *" $case "* ]] || STATUS=2 die "there is no case '$case'; there are: $*"
    done
}

# What reads figures in awk: one object a line, as bench.sh writes them, and no value has a comma or a quote in it. Also how
# a number of any size is shown.
# shellcheck disable=SC2016,SC2034 # it is awk, and for whoever sources this
READ_FIGURES='
    function value(key,    rest) {
        rest = $0
        if (!sub(".*\"" key "\": *\"?", "", rest)) return ""
        sub(/[",}].*/, "", rest)
        return rest
    }
    function shown(number) { return sprintf(number + 0 >= 100 ? "%.0f" : number + 0 >= 10 ? "%.1f" : "%.2f", number) }'

# leave_suite [PATH…] is for the trap of EXIT, and has to be the first in it, for the exit code is what counts: it takes away
# what is no longer needed. 1 is for a bound that was missed, and only a suite that has measured everything (MEASURED) can
# say so.
# shellcheck disable=SC2317 # called by the trap
leave_suite() {
    local status=$?
    rm -rf -- "$@"
    [ "$status" != 1 ] || [ "$MEASURED" = 1 ] || status=3
    exit "$status"
}

# await WHAT COMMAND… waits until it succeeds. What is not in order after PATIENCE seconds never will be; then
# the caller's keep_logs sees to it that the logs stay, and prints where.
await() {
    local what=$1 end=$((SECONDS + PATIENCE))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt "$end" ] || STATUS=3 die "$what: not there after $PATIENCE s; the logs are in $(keep_logs)"
        sleep 0.02
    done
}
