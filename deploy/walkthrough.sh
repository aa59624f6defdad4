#!/usr/bin/env bash
# Takes the way that the README describes for two real machines, command by command, on two hosts of a lab:
# what is written there is what is run.
#
#   deploy/walkthrough.sh
#
# The hosts have a cable called enp3s0 and a libvirt daemon, and nothing else of what the README sets up.
# Left out is what a lab has no place for: installing packages and Rust (they are asked for only), netplan
# (deploy/network/check.sh applies its files), building again (HOLDFAST_BIN and HOLDFAST_IMAGES say where
# it was done); and systemd, whose part is played by starting what the unit starts. Needs root.
#
# Exit code: 0 the public address answered, 1 not.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

: "${HOLDFAST_BIN:?the directory of the programs}" "${HOLDFAST_IMAGES:?the directory of the images}"
BIN=$(readlink -f "$HOLDFAST_BIN")
LAB=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-walk-XXXXXX")
# shellcheck disable=SC2317 # called by the trap
finish() {
    local status=$?
    [ "$status" = 0 ] || tail -n 20 "$LAB"/*/service.log >&2 || true
    deploy/lab.sh down "$LAB" || true
    rm -rf "$LAB"
    exit "$status"
}
trap finish EXIT

# commands STEP: the commands of a step of the section, one a line.
commands() {
    sed -n '/^## On two real machines/,/^## /p' README.md \
        | sed -n "/^\*\*$1\. /,/^\*\*$(($1 + 1))\. /p" \
        | sed -n 's/^    //p'
}

# A command of the README as it is run on host $1.
adapt() {
    sed -E "s/host-a/host-$1/g; s/  +# on b: .*//
        s|target/release/|$BIN/|g; s|target/images|$HOLDFAST_IMAGES|g"
}

# On b the addresses that the README gives for b.
for_host() {
    if [ "$1" = a ]; then cat; else sed 's/02:48:c0:a8:0a:01/02:48:c0:a8:0a:02/; s|192.168.10.1/24|192.168.10.2/24|'; fi
}

on() {
    local host=$1
    shift
    deploy/lab.sh exec "$LAB" "$host" bash -euc "cd '$ROOT'; sudo() { \"\$@\"; }; $*" 9>&-
}

# Runs the commands of a step on a host.
walk() {
    local host=$1 step=$2 command
    while IFS= read -r command; do
        case $command in
            *'apt-get install'*)
                # shellcheck disable=SC2086 # a list of packages
                apt-get install --simulate -qq ${command##*-y } >/dev/null || die "no such packages: $command"
                continue
                ;;
            *rustup* | *cargo/env* | 'cd holdfast' | *netplan* | 'cargo build'* | alpine-image/build.sh | *systemd* | *systemctl*)
                continue
                ;;
        esac
        command=$(for_host "$host" <<<"$command" | adapt "$host")
        say "$host: $command"
        on "$host" "$command"
    done < <(commands "$step")
}

need ping:iputils-ping
say "Starting two bare hosts"
exec 9> >(HOLDFAST_MACHINES=vms HOLDFAST_BARE=1 exec setsid deploy/lab.sh up "$LAB" >"$LAB/lab.log" 2>&1)
for _ in $(seq 200); do
    [ ! -e "$LAB/up" ] || break
    sleep 0.1
done
[ -e "$LAB/up" ] || die "the hosts cannot be started: $(cat "$LAB/lab.log")"

for host in a b; do walk "$host" 1; done
for host in a b; do walk "$host" 2; done
on a ping -c 3 192.168.10.2 >&2
for host in a b; do walk "$host" 3; done
for host in a b; do walk "$host" 4; done
for host in a b; do
    start=$(sed -n 's/^ExecStart=//p' deploy/systemd/holdfast-manager.service)
    on "$host" "setsid $start >'$LAB/$host/service.log' 2>&1 </dev/null &"
done
end=$((SECONDS + 120))
until on a manager -o json status 2>/dev/null | grep -q '"whole":true'; do
    [ $SECONDS -lt $end ] || die "the cluster is not whole: $(on a manager status)"
    sleep 0.5
done
on a manager status
curl=$(commands 5 | grep '^curl')
for host in a b; do
    say "$host: $curl"
    on "$host" "$curl --fail --silent --show-error --max-time 10"
    echo
done
load=$(commands 6 | grep '^loadtest' | sed 's/--rate [0-9]*/--rate 20/; s/--duration [0-9]*s/--duration 5s/')
say "b: $load"
on b "$load"
say "b: manager image roll --dry-run"
on b manager image roll --dry-run
