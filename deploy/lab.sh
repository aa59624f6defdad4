#!/usr/bin/env bash
# A two-host network on one machine: what the demo and the end-to-end tests run in.
#
#   lab.sh up DIR [keep]       make the lab, start both hosts and their managers; DIR/up appears when that
#                              is done. The lab ends with this command's standard input, so that it
#                              outlives no caller; with `keep` only `down` ends it
#   lab.sh wait DIR SECONDS    wait until the cluster is whole
#   lab.sh exec DIR WHERE CMD… run a command on a host (a, b) or on the client
#   lab.sh fault DIR FAULT     harm something from outside, as hardware would, and mend it where it
#                              would be mended; prints one JSON line when the harm is done:
#                                kill-stateless | freeze-stateless | kill-manager | kill-lb | kill-host
#                                kill-all-stateless | stop-manager HOST | start-manager HOST
#                                kill-proxy MACHINE | freeze MACHINE | thaw MACHINE | kill MACHINE
#                                cut HOST | heal HOST
#   lab.sh down DIR            end it
#
#   switch (bridge sw0) ── host a: br0 192.168.10.1   machines .10 to .16
#                       ── host b: br0 192.168.10.2   machines .20 to .26
#                       ── client: 192.168.10.100     public address .120
#
# The lab is one tree of namespaces (network, mount, process, and user where it is not run by root).
# When its first process ends, the kernel takes everything away. HOLDFAST_BIN is the directory of the
# programs.
set -euo pipefail

SELF=$(readlink -f "${BASH_SOURCE[0]}")
DEPLOY=$(dirname "$SELF")
CLIENT_ADDRESS=192.168.10.100
declare -A HOST_ADDRESS=([a]=192.168.10.1 [b]=192.168.10.2)

# How long a killed manager stays away before its service manager starts it again, and how long a lost
# host takes to come back, in seconds.
MANAGER_RESTART=${HOLDFAST_MANAGER_RESTART:-2}
HOST_RETURN=${HOLDFAST_HOST_RETURN:-4}

die() { echo "lab: $*" >&2; exit 1; }

# --- outside: making, entering and ending a lab ------------------------------------------------------

up() {
    local user=()
    [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
    # --kill-child: were this unshare killed, the lab would end too.
    exec unshare "${user[@]}" --mount --net --pid --fork --kill-child --mount-proc \
        bash "$SELF" inside "$@"
}

# The first process of the lab, as seen from here.
lab_pid() {
    local dir=$1 outer
    outer=$(cat "$dir/outer.pid" 2>/dev/null) || die "there is no lab in $dir"
    tr -d ' ' <"/proc/$outer/task/$outer/children" 2>/dev/null || die "the lab in $dir has ended"
}

enter() {
    local dir=$1 where=$2 pid user=()
    shift 2
    # Inside the lab already? Then its namespaces are at hand.
    if [ "${HOLDFAST_LAB:-}" = "$dir" ]; then
        inside_exec "$dir" "$where" "$@"
    fi
    pid=$(lab_pid "$dir")
    [ "$(id -u)" = 0 ] || user=(--user --preserve-credentials)
    exec nsenter --target "$pid" "${user[@]}" --mount --net --pid -- \
        env HOLDFAST_LAB="$dir" bash "$SELF" exec "$dir" "$where" "$@"
}

inside_exec() {
    local dir=$1 where=$2
    shift 2
    case $where in
        a | b)
            local pid
            pid=$(host_pid "$dir" "$where") || die "host $where is down"
            exec nsenter --target "$pid" --mount --net --pid -- "$@"
            ;;
        client | switch) exec nsenter --net="/run/netns/$where" -- "$@" ;;
        *) die "there is no $where; there are a, b, client and switch" ;;
    esac
}

down() {
    local dir=$1 outer inner
    outer=$(cat "$dir/outer.pid" 2>/dev/null) || return 0
    # The first process ends only after all others have, in every namespace below it.
    inner=$(tr -d ' ' <"/proc/$outer/task/$outer/children" 2>/dev/null) || inner=
    # shellcheck disable=SC2086 # none or one
    kill -KILL $inner "$outer" 2>/dev/null || true
    for pid in $inner $outer; do
        while [ -d "/proc/$pid" ] && ! grep -q '^State:.*Z' "/proc/$pid/status" 2>/dev/null; do sleep 0.02; done
    done
    rm -f "$dir/outer.pid"
}

# --- inside: the lab's first process -----------------------------------------------------------------

inside() {
    local dir=$1
    export HOLDFAST_LAB=$dir
    mount -t tmpfs tmpfs /run
    mkdir -p /run/netns
    make_network
    for host in a b; do host_up "$dir" "$host"; done
    touch "$dir/up"
    if [ "${2:-}" = keep ]; then
        while :; do sleep 3600; done
    fi
    # Whoever started the lab holds the other end: when that is closed, for whatever reason, all ends.
    while read -r _; do :; done
}

make_network() {
    ip link set lo up
    for name in switch client a b; do ip netns add "$name"; done
    bridge switch sw0
    cable client eth0 "$CLIENT_ADDRESS"
    for host in a b; do
        bridge "$host" br0
        # Its own for good; else it would be that of a port, and change with the ports.
        # shellcheck disable=SC2046,SC2086 # four words on purpose
        in_net "$host" ip link set br0 address "$(printf '02:48:%02x:%02x:%02x:%02x' ${HOST_ADDRESS[$host]//./ })"
        cable "$host" uplink
        in_net "$host" ip link set uplink master br0
        in_net "$host" ip address add "${HOST_ADDRESS[$host]}/24" dev br0
    done
}

in_net() {
    local name=$1
    shift
    nsenter --net="/run/netns/$name" -- "$@"
}

# A bridge that forwards from the first moment. It has an address of its own: else it would take that of
# a port, and change it when a port with a lower one comes.
bridge() {
    in_net "$1" ip link set lo up
    in_net "$1" ip link add "$2" type bridge stp_state 0 forward_delay 0 mcast_snooping 0
    in_net "$1" ip link set "$2" up
}

# A cable from a namespace to the switch.
cable() {
    local name=$1 interface=$2 address=${3:-}
    ip link add "$interface" netns "$name" type veth peer name "port-$name" netns switch
    in_net switch ip link set "port-$name" master sw0 up
    in_net "$name" ip link set lo up
    in_net "$name" ip link set "$interface" up
    [ -z "$address" ] || in_net "$name" ip address add "$address/24" dev "$interface"
}

# --- inside: hosts -----------------------------------------------------------------------------------

# A host is a process namespace in its network: its first process stands for the hardware.
host_up() {
    local dir=$1 host=$2
    mkdir -p "$dir/$host/state"
    sed "s|^state_dir = .*|state_dir = \"$dir/$host/state\"|; s|^programs = .*|programs = \"$HOLDFAST_BIN\"|; s|^chaos = .*|chaos = true|" \
        "$DEPLOY/profiles/host-$host.toml" >"$dir/$host/manager.toml"
    in_net switch ip link set "port-$host" up
    (exec nsenter --net="/run/netns/$host" -- unshare --mount --pid --fork --mount-proc \
        bash "$SELF" host-init "$dir" "$host") </dev/null >>"$dir/$host/host.log" 2>&1 &
    echo $! >"$dir/$host/outer.pid"
    until host_pid "$dir" "$host" >/dev/null; do sleep 0.01; done
}

host_pid() {
    local outer child
    outer=$(cat "$1/$2/outer.pid" 2>/dev/null) || return 1
    child=$(tr -d ' ' <"/proc/$outer/task/$outer/children" 2>/dev/null) || return 1
    [ -n "$child" ] && echo "$child"
}

# What a service manager does on a real host: keep the manager running, collect what ends.
host_init() {
    local dir=$1 host=$2
    while :; do
        if [ ! -e "$dir/$host/manager.off" ]; then
            "$HOLDFAST_BIN/manager" --config "$dir/$host/manager.toml" run >>"$dir/$host/manager.log" 2>&1 || true
            [ -e "$dir/$host/manager.off" ] || sleep "$MANAGER_RESTART"
        fi
        sleep 0.1
    done
}

# --- inside: faults ----------------------------------------------------------------------------------

# The first process of a machine.
machine_pid() {
    local dir=$1 id=$2 directory cmdline
    directory=$dir/${id%%-*}/state/machines/$id
    for cmdline in /proc/[0-9]*/cmdline; do
        if tr '\0' ' ' <"$cmdline" 2>/dev/null | grep -q "namespace-machine init .*$directory "; then
            cmdline=${cmdline#/proc/}
            echo "${cmdline%/cmdline}"
            return 0
        fi
    done
    die "no machine $id runs"
}

# Every process of a machine, the first one first.
machine_members() {
    local init=$1 namespace process
    namespace=$(readlink "/proc/$init/ns/pid")
    echo "$init"
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/ns/pid" 2>/dev/null)" = "$namespace" ]; then echo "${process#/proc/}"; fi
    done
}

# The host's end of a machine's cable: hf and the address in hexadecimal.
machine_port() {
    local dir=$1 id=$2 address
    address=$(sed -n 's/.*"address": "\([0-9.]*\)".*/\1/p' "$dir/${id%%-*}/state/machines/$id/machine.json")
    # shellcheck disable=SC2086 # four words on purpose
    printf 'hf%02x%02x%02x%02x' ${address//./ }
}

# A power cut: from one moment to the next nothing comes from the machine any more.
kill_machine() {
    local dir=$1 id=$2 pid
    pid=$(machine_pid "$dir" "$id")
    in_net "${id%%-*}" ip link set "$(machine_port "$dir" "$id")" down
    kill -KILL "$pid"
}

freeze_machine() {
    local dir=$1 id=$2 pid
    pid=$(machine_pid "$dir" "$id")
    in_net "${id%%-*}" ip link set "$(machine_port "$dir" "$id")" down
    # shellcheck disable=SC2046 # a list of numbers
    kill -STOP $(machine_members "$pid") 2>/dev/null || true
}

thaw_machine() {
    local dir=$1 id=$2 pid
    pid=$(machine_pid "$dir" "$id")
    # shellcheck disable=SC2046 # a list of numbers
    kill -CONT $(machine_members "$pid") 2>/dev/null || true
    in_net "${id%%-*}" ip link set "$(machine_port "$dir" "$id")" up
}

# The balancer that holds the public address: the one that has it on its interface. While it moves,
# nobody does for a moment.
holder() {
    local dir=$1 host pid end=$((SECONDS + 5))
    while [ $SECONDS -lt "$end" ]; do
        for host in a b; do
            pid=$(machine_pid "$dir" "$host-lb" 2>/dev/null) || continue
            if nsenter --target "$pid" --net -- ip -o address show dev eth0 2>/dev/null \
                | grep -q ' 192\.168\.10\.120/32 '; then
                echo "$host-lb"
                return 0
            fi
        done
        sleep 0.05
    done
    die "no balancer holds the public address"
}

# The first service machine of a host.
stateless_of() {
    find "$1/$2/state/machines" -maxdepth 1 -name "$2-stateless-*" -printf '%f\n' | sort | head -n 1
}

manager_pid() {
    local process
    for process in /proc/[0-9]*; do
        if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q "manager --config $1/$2/manager.toml run"; then
            echo "${process#/proc/}"
            return 0
        fi
    done
    die "no manager runs on host $2"
}

fault() {
    local dir=$1 what=$2 who=${3:-} pid
    case $what in
        kill-stateless)
            who=$(stateless_of "$dir" a)
            kill_machine "$dir" "$who"
            echo "{\"fault\": \"kill stateless\", \"machine\": \"$who\"}"
            ;;
        freeze-stateless)
            who=$(stateless_of "$dir" b)
            freeze_machine "$dir" "$who"
            echo "{\"fault\": \"freeze stateless\", \"machine\": \"$who\"}"
            ;;
        kill-manager)
            kill -KILL "$(manager_pid "$dir" a)"
            echo '{"fault": "kill manager", "host": "a"}'
            ;;
        kill-lb)
            who=$(holder "$dir")
            kill_machine "$dir" "$who"
            echo "{\"fault\": \"kill lb\", \"machine\": \"$who\"}"
            ;;
        kill-host)
            who=$(holder "$dir")
            who=${who%%-*}
            pid=$(host_pid "$dir" "$who")
            in_net switch ip link set "port-$who" down
            kill -KILL "$pid"
            echo "{\"fault\": \"kill host\", \"host\": \"$who\"}"
            sleep "$HOST_RETURN"
            host_up "$dir" "$who"
            ;;
        kill-all-stateless)
            # All are found first: between the first death and the last one nothing must be rebuilt.
            local ids id host pids=()
            local -A ports
            for host in a b; do
                ids=$(find "$dir/$host/state/machines" -maxdepth 1 -name "$host-stateless-*" -printf '%f\n')
                ports[$host]=
                for id in $ids; do
                    pids+=("$(machine_pid "$dir" "$id")")
                    ports[$host]+="link set $(machine_port "$dir" "$id") down"$'\n'
                done
            done
            for host in a b; do in_net "$host" ip -batch - <<<"${ports[$host]}"; done
            kill -KILL "${pids[@]}"
            echo '{"fault": "kill all stateless"}'
            ;;
        stop-manager)
            touch "$dir/$who/manager.off"
            kill -KILL "$(manager_pid "$dir" "$who")"
            echo "{\"fault\": \"stop manager\", \"host\": \"$who\"}"
            ;;
        start-manager)
            rm -f "$dir/$who/manager.off"
            echo "{\"fault\": \"start manager\", \"host\": \"$who\"}"
            ;;
        kill-proxy)
            pid=$(machine_pid "$dir" "$who")
            kill -KILL "$(for p in $(machine_members "$pid"); do
                tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | grep -q '/lb proxy ' && echo "$p"
            done)"
            echo "{\"fault\": \"kill proxy\", \"machine\": \"$who\"}"
            ;;
        kill) kill_machine "$dir" "$who" && echo "{\"fault\": \"kill $who\", \"machine\": \"$who\"}" ;;
        freeze) freeze_machine "$dir" "$who" && echo "{\"fault\": \"freeze $who\", \"machine\": \"$who\"}" ;;
        thaw) thaw_machine "$dir" "$who" && echo "{\"fault\": \"thaw $who\"}" ;;
        cut) in_net switch ip link set "port-$who" down && echo "{\"fault\": \"cut $who\"}" ;;
        heal) in_net switch ip link set "port-$who" up && echo "{\"fault\": \"heal $who\"}" ;;
        *) die "there is no fault $what; see the head of $SELF" ;;
    esac
}

wait_whole() {
    local dir=$1 seconds=$2 status=
    local end=$((SECONDS + seconds))
    while [ $SECONDS -lt "$end" ]; do
        status=$("$SELF" exec "$dir" client \
            "$HOLDFAST_BIN/manager" --manager http://192.168.10.1:8080 -o json status 2>&1) || true
        case $status in *'"whole":true'*) return 0 ;; esac
        sleep 0.05
    done
    echo "$status" >&2
    die "the cluster is not whole after $seconds s; logs are in $dir/a and $dir/b"
}

[ $# -ge 1 ] || { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$SELF"; exit 2; }
command=$1
shift
if [ $# -ge 1 ]; then
    mkdir -p "$1"
    set -- "$(readlink -f "$1")" "${@:2}"
fi
# A lab keeps the programs it was started with.
if [ -r "${1:-}/bin" ] && [ "$command" != up ]; then HOLDFAST_BIN=$(cat "$1/bin"); fi
case $command in
    up)
        readlink -f "${HOLDFAST_BIN:?set it to the directory of the programs}" >"$1/bin"
        HOLDFAST_BIN=$(cat "$1/bin")
        rm -f "$1/up"
        echo $$ >"$1/outer.pid"
        up "$@"
        ;;
    inside) inside "$@" ;;
    host-init) host_init "$1" "$2" ;;
    exec) enter "$@" ;;
    wait) wait_whole "$@" ;;
    fault)
        [ "${HOLDFAST_LAB:-}" = "$1" ] || exec "$SELF" exec "$1" switch bash "$SELF" fault "$@"
        fault "$@"
        ;;
    down) down "$1" ;;
    *) die "there is no command $command" ;;
esac
