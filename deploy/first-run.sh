#!/usr/bin/env bash
# Runs the commands of a first run that README.md has, and compares what they print with what stands there.
#
#   deploy/first-run.sh [--write]      --write puts what they printed into README.md
#
# Figures differ from run to run. What must not is the shape: the same lines with the same words, whatever the numbers and the
# spaces; lines that come and go with the figures (progress, kinds of failures) are left out of the comparison.
# HOLDFAST_BIN is a directory with the programs, if they are not to be built; then fewer requests are sent, because they may
# be unoptimized.
#
# Exit code: 0 all commands succeeded and README.md shows them, 1 not.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
WRITE=0
case ${1:-} in
    '') ;;
    --write) WRITE=1 ;;
    -h | --help) help_of "$0" && exit 0 ;;
    *) STATUS=2 die "unknown argument $1; --help shows what there is" ;;
esac
BEGIN='<!-- first run: made by a script -->' END='<!-- first run: end -->'
# Where its page is shown while somebody looks.
PORT=8080
# Without --write it is not a measurement.
QUICK=(--rate 50)

WORK=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-first-run.XXXXXX")
export TMPDIR=$WORK
page=''
# shellcheck disable=SC2317 # called by the trap
finish() {
    local status=$?
    [ -z "$page" ] || end_tree "$page"
    bash deploy/demo.sh --clean >/dev/null 2>&1 || true
    rm -rf "$WORK"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# shellcheck disable=SC2016 # three backticks
mapfile -t commands < <(sed -n '/^```sh first-run/,/^```$/{/^```/d;p}' README.md)
[ ${#commands[@]} -ge 3 ] || die "README.md has no commands of a first run"
[ ${#commands[@]} -lt 5 ] || die "README.md has ${#commands[@]} commands for a first run; it is to be fewer than five"
: >"$WORK/transcript"
for command in "${commands[@]}"; do
    say "\$ $command"
    [ ! -s "$WORK/transcript" ] || echo >>"$WORK/transcript"
    echo "\$ $command" >>"$WORK/transcript"
    case $command in
        *'look.sh page')
            # It goes on until Ctrl-C.
            $command >"$WORK/page" 2>&1 &
            page=$!
            until grep -q "http://127.0.0.1:$PORT/" "$WORK/page"; do
                kill -0 "$page" 2>/dev/null || die "the page is not there: $(cat "$WORK/page")"
                sleep 0.1
            done
            curl -fsS "http://127.0.0.1:$PORT/" | grep -qi '<title>' || die "that is no page"
            cat "$WORK/page" >>"$WORK/transcript"
            ;;
        *demo.sh*)
            arguments=()
            [ "$WRITE" = 1 ] || arguments=("${QUICK[@]}")
            $command "${arguments[@]}" >>"$WORK/transcript" 2>&1 </dev/null || die "it failed: $(tail -n 40 "$WORK/transcript")"
            ;;
        *) $command >>"$WORK/transcript" 2>&1 </dev/null || die "it failed: $(tail -n 40 "$WORK/transcript")" ;;
    esac
done

# What is installed on the way differs from machine to machine, and nobody sees spaces at the end of a line.
sed -i -E '/^(==> Installing|debconf:)/d; s/ +$//' "$WORK/transcript"

# The shape of a transcript.
shape() {
    sed -E '/^ *[0-9.]+ s  ([0-9]+ succeeded|.*: recovered)/d
        /^(As it ran|Failures|Longest outage|Sent late by|Answered|Faults|Degraded|Seed|==> Building)/d
        /^$/d; s/,? *(reset|eof|timeout|refused|connect-timeout|http-[0-9x]+) [0-9]+//g
        s/b-lb|a-lb/LB/g; s/holds 192[0-9.]*//
        s/[0-9]+(\.[0-9]+)?(ms|s|min|h)?/N/g; s/ +/ /g; s/ $//' "$1"
}
sed -n "/^$BEGIN\$/,/^$END\$/{/^<!--/d;/^\`\`\`/d;p}" README.md >"$WORK/written"
if [ "$WRITE" = 1 ]; then
    case ${HOLDFAST_BIN:-} in */debug | */debug/) programs=unoptimized ;; *) programs=optimized ;; esac
    { sed "/^$BEGIN\$/q" README.md; echo "As it ran on $(nproc) cores, with $programs programs:"; echo; echo '```text'; cat "$WORK/transcript"; echo '```'; sed -n "/^$END\$/,\$p" README.md; } >"$WORK/README"
    cat "$WORK/README" >README.md
    say "README.md is written"
elif ! diff -u --label 'README.md' --label 'now' <(shape "$WORK/written") <(shape "$WORK/transcript"); then
    die "README.md shows what is not so any more: deploy/first-run.sh --write writes it anew"
else
    say "README.md shows what happens"
fi
