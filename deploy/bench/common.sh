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
