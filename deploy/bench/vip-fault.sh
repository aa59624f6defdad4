#!/usr/bin/env bash
# Breaks the balancer that holds the public address, in a lab of deploy/bench/vip.sh: the same harm to
# either subject. Runs in the lab; loadtest starts it.
#
#   vip-fault.sh LAB SUBJECT CASE
#
#     machine-killed   its port is down and its first process gets SIGKILL, and with it all others
#     machine-frozen   its port is down and every process gets SIGSTOP
#     proxy-killed     every process that forwards gets SIGKILL
#     proxy-hung       every process that forwards gets SIGSTOP
#     orderly-stop     it is asked to stop, as at a shutdown
#     host-cut         its host's cable to the switch carries nothing any more
set -euo pipefail

SELF=$(readlink -f "${BASH_SOURCE[0]}")
LAB_SH=$(dirname "$SELF")/../lab.sh
LAB=$1 SUBJECT=$2 CASE=$3
VIP=192.168.10.120

die() { echo "vip-fault: $*" >&2; exit 1; }

# In the namespaces of the lab's first process, where all processes and networks can be seen.
if [ "${4:-}" != inside ]; then
    exec "$LAB_SH" exec "$LAB" switch bash "$SELF" "$@" inside
fi

# Everything is found before anything is harmed, so that the harm is done in a moment.
arguments_of() { mapfile -d '' -t arguments <"/proc/$1/cmdline"; } 2>/dev/null

# The first process of machine HOST-lb of ours.
init_of() {
    local process arguments
    for process in /proc/[0-9]*; do
        arguments_of "${process#/proc/}" || continue
        case "${arguments[*]:-} " in
            *"namespace-machine init "*"$LAB/$1/state/machines/$1-lb "*) echo "${process#/proc/}" && return 0 ;;
        esac
    done
    die "no balancer runs on host $1"
}

# The first process of a host, which is the machine where keepalived runs.
host_init() {
    tr -d ' ' <"/proc/$(cat "$LAB/$1/outer.pid")/task/$(cat "$LAB/$1/outer.pid")/children"
}

# The process namespace of INIT, all of it.
members_of() {
    local process
    for process in /proc/[0-9]*; do
        if [ "$process/ns/pid" -ef "/proc/$1/ns/pid" ]; then echo "${process#/proc/}"; fi
    done
}

has_vip() { nsenter --net --target "$1" -- ip -o address show to "$VIP" 2>/dev/null | grep -q .; }

holder='' init=''
for host in a b; do
    case $SUBJECT in lb) candidate=$(init_of "$host") ;; *) candidate=$(host_init "$host") ;; esac
    ! has_vip "$candidate" || { holder=$host init=$candidate; }
done
[ -n "$holder" ] || die "nobody holds $VIP"
mapfile -t members < <(members_of "$init")

# The keepalived that is to be told is the one that its file names, by its number on its host.
number_at_home() { sed -n 's/^NSpid:.*\t//p' "/proc/$1/status"; }

forwarders=() speaker=''
for member in "${members[@]}"; do
    arguments_of "$member" || continue
    case "$SUBJECT ${arguments[*]:-}" in
        'lb '*/lb\ proxy\ *) forwarders+=("$member") ;;
        'lb '*/lb\ run\ *) speaker=$member ;;
        keepalived-*\ keepalived\ *)
            [ "$(number_at_home "$member")" != "$(cat "$LAB/$holder/keepalived.pid")" ] || speaker=$member
            ;;
        keepalived-*\ nginx:\ *) forwarders+=("$member") ;;
    esac
done
if [ ${#forwarders[@]} = 0 ] || [ -z "$speaker" ]; then die "the balancer on host $holder is not whole"; fi

# The other end of the machine's own cable.
port_down() {
    local address
    if [ "$SUBJECT" = lb ]; then
        address=$(sed -n 's/.*"address": "\([0-9.]*\)".*/\1/p' "$LAB/$holder/state/machines/$holder-lb/machine.json")
        # shellcheck disable=SC2046,SC2086 # four words on purpose
        nsenter --net="/run/netns/$holder" -- ip link set $(printf 'hf%02x%02x%02x%02x' ${address//./ }) down
    else
        cable_down
    fi
}
cable_down() { ip link set "port-$holder" down; }

case $CASE in
    machine-killed) port_down && kill -KILL "$init" ;;
    machine-frozen) port_down && kill -STOP "${members[@]}" ;;
    proxy-killed) kill -KILL "${forwarders[@]}" ;;
    proxy-hung) kill -STOP "${forwarders[@]}" ;;
    # keepalived before nginx, as their order at a shutdown would be for a careful person.
    orderly-stop) kill -TERM "$speaker" ;;
    host-cut) cable_down ;;
    *) die "there is no case $CASE; see the head of $SELF" ;;
esac
echo "{\"fault\": \"$CASE\"}"
if [ "$CASE" = orderly-stop ] && [ "$SUBJECT" != lb ]; then
    while [ -d "/proc/$speaker" ]; do sleep 0.01; done
    kill -QUIT "${forwarders[@]}" 2>/dev/null || true
fi
