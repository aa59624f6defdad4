#!/usr/bin/env bash
# A network of two hosts, or three, on one machine: what the demo and the end-to-end tests run in.
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
#                                lose HOST | return HOST
#                                kill-proxy MACHINE | freeze MACHINE | thaw MACHINE | kill MACHINE
#                                cut HOST | heal HOST
#                                kill-libvirtd HOST | stop-libvirtd HOST | start-libvirtd HOST
#   lab.sh down DIR            end it
#
#   switch (bridge sw0) ── host a: br0 192.168.10.1   machines .10 to .16
#                       ── host b: br0 192.168.10.2   machines .20 to .26
#                       ── client: 192.168.10.100     public address .120
#
# The lab is one tree of namespaces (network, mount, process, and user where it is not run by root).
# When its first process ends, the kernel takes everything away. HOLDFAST_BIN is the directory of the
# programs.
#
# HOLDFAST_MACHINES says what the machines are: `namespaces` (without it), or `vms`, real virtual machines.
# Then every host also runs a libvirt daemon of its own, none of whose files is this machine's; the images
# are in HOLDFAST_IMAGES (beside the programs' directory, if it is not set); and root is needed.
#
# The two hosts are one cluster with certificates, as `manager init` on a and `manager join` on b make it.
# HOLDFAST_CERTIFICATES=0 leaves that out: then the managers believe each other by address.
#
# HOLDFAST_SETTINGS names a file whose tables are added to both hosts' configurations. Its `[[vip]]`, if it has
# any, take the place of the one that is there.
#
# HOLDFAST_HOSTS="a b c" has a third host, as the others, with machines .30 to .36.
#
# HOLDFAST_FAMILY=6 has all addresses of IPv6: fd00:10::1 instead of 192.168.10.1, and so on.
#
# With HOLDFAST_BARE=1 the hosts have a cable called enp3s0 and nothing of Holdfast: neither bridge nor
# address nor manager. What is installed there (in /usr/bin, /etc/holdfast, /var/lib/holdfast) is theirs.
set -euo pipefail

SELF=$(readlink -f "${BASH_SOURCE[0]}")
DEPLOY=$(dirname "$SELF")
FAMILY=${HOLDFAST_FAMILY:-4}

# The addresses of the network, and how an interface gets one: nobody else has those of IPv6.
declare -A HOST_ADDRESS
address_all() {
    case $FAMILY in
        4) NETWORK=192.168.10. LENGTH=24 HOW=() ;;
        6) NETWORK=fd00:10:: LENGTH=64 HOW=(nodad) ;;
        *) die "HOLDFAST_FAMILY is 4 or 6, not $FAMILY" ;;
    esac
    CLIENT_ADDRESS=${NETWORK}100 SWITCH_ADDRESS=${NETWORK}101 VIP=${NETWORK}120
    HOST_ADDRESS=([a]=${NETWORK}1 [b]=${NETWORK}2 [c]=${NETWORK}3)
}

# The hosts there are.
read -r -a HOSTS <<<"${HOLDFAST_HOSTS:-a b}"

# How long a killed manager or libvirt daemon stays away before its service manager starts it again, and
# how long a lost host takes to come back, in seconds.
MANAGER_RESTART=${HOLDFAST_MANAGER_RESTART:-2}
LIBVIRTD_RESTART=${HOLDFAST_LIBVIRTD_RESTART:-1}
HOST_RETURN=${HOLDFAST_HOST_RETURN:-4}
BARE=${HOLDFAST_BARE:-0}
CERTIFICATES=${HOLDFAST_CERTIFICATES:-1}
SETTINGS=${HOLDFAST_SETTINGS:-}

# How long the first manager may take until a host can join at it.
JOIN_PATIENCE=60

# How long a host that starts waits for its libvirt daemon before it starts its manager all the same.
LIBVIRTD_PATIENCE=10

die() { echo "lab: $*" >&2; exit 1; }

# --- outside: making, entering and ending a lab ------------------------------------------------------

up() {
    local user=()
    [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
    # --kill-child: were this unshare killed, the lab would end too.
    exec unshare "${user[@]}" --mount --net --pid --fork --kill-child --mount-proc \
        bash "$SELF" inside "$@"
}

# Says what is missing before anything is made.
check_vms() {
    [ "$(id -u)" = 0 ] || die "real virtual machines need root (only namespaces do without): run it with sudo"
    for program in qemu-system-x86_64 libvirtd virtlogd; do
        command -v "$program" >/dev/null || die "there is no $program here: deploy/test.sh machines installs it"
    done
    [ -e "$IMAGES/lb/image.json" ] \
        || die "no images in $IMAGES: build them with alpine-image/build.sh, or set HOLDFAST_IMAGES"
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
        a | b | c)
            local pid
            pid=$(host_pid "$dir" "$where") || die "host $where is down"
            exec nsenter --target "$pid" --mount --net --pid -- "$@"
            ;;
        client | switch) exec nsenter --net="/run/netns/$where" -- "$@" ;;
        *) die "there is no $where; there are ${HOSTS[*]}, client and switch" ;;
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
    [ "$BARE" = 1 ] || [ "$CERTIFICATES" = 0 ] || touch "$dir/ca"
    for host in "${HOSTS[@]}"; do host_up "$dir" "$host"; done
    touch "$dir/up"
    if [ "${2:-}" = keep ]; then
        while :; do sleep 3600; done
    fi
    # Whoever started the lab holds the other end: when that is closed, for whatever reason, all ends.
    while read -r _; do :; done
}

make_network() {
    ip link set lo up
    for name in switch client "${HOSTS[@]}"; do ip netns add "$name"; done
    bridge switch sw0
    # From there one can ask the wire who has an address, without a word from the hosts or the client.
    in_net switch ip address add "$SWITCH_ADDRESS/$LENGTH" dev sw0 "${HOW[@]}"
    cable client eth0 "$CLIENT_ADDRESS"
    for host in "${HOSTS[@]}"; do
        if [ "$BARE" = 1 ]; then
            cable "$host" enp3s0
            continue
        fi
        bridge "$host" br0
        # Its own for good; else it would be that of a port, and change with the ports.
        in_net "$host" ip link set br0 address "02:48:c0:a8:0a:0${HOST_ADDRESS[$host]#"$NETWORK"}"
        cable "$host" uplink
        in_net "$host" ip link set uplink master br0
        in_net "$host" ip address add "${HOST_ADDRESS[$host]}/$LENGTH" dev br0 "${HOW[@]}"
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
    [ -z "$address" ] || in_net "$name" ip address add "$address/$LENGTH" dev "$interface" "${HOW[@]}"
}

# --- inside: hosts -----------------------------------------------------------------------------------

# The host's configuration: the one that is shipped, at home in the lab.
profile() {
    local dir=$1 host=$2 hypervisor='hypervisor = "namespaces"'
    if [ "$MACHINES" = vms ]; then
        hypervisor="hypervisor = \"libvirt\"\\nlibvirt_uri = \"qemu:///system\"\\nimages = \"$IMAGES\""
    fi
    local shipped=$DEPLOY/profiles/host-$host.toml differs=()
    # Two are shipped. A third one is as the second, with what has to be another one.
    if [ "$host" = c ]; then
        shipped=$DEPLOY/profiles/host-b.toml
        differs=(-e '0,/^name = /s|^name = .*|name = "c"|; s|192\.168\.10\.2\([0"-]\)|192.168.10.3\1|g; s|192\.168\.10\.26|192.168.10.36|'
            -e 's|^peers = .*|peers = ["192.168.10.1", "192.168.10.2"]|')
    elif [ "${#HOSTS[@]}" -gt 2 ]; then
        differs=(-e 's|^peers = \[\(.*\)\]|peers = [\1, "192.168.10.3"]|')
    fi
    sed "s|^state_dir = .*|state_dir = \"$dir/$host/state\"|
        s|^chaos = .*|chaos = true|; s|^hypervisor = .*|$hypervisor|; /^libvirt_uri = /d; /^images = /d" \
        "$shipped" | sed -n "${differs[@]}" -e p | without_vip | at_home
    [ -z "$SETTINGS" ] || at_home <"$SETTINGS"
}

# What is shipped is of IPv4.
at_home() { sed "s|192\.168\.10\.|$NETWORK|g"; }

# Whoever names public addresses names all of them.
without_vip() {
    if [ -n "$SETTINGS" ] && grep -q '^\[\[vip\]\]' "$SETTINGS"; then
        sed '/^\[\[vip\]\]/,/^$/d'
    else
        cat
    fi
}

# A host is a process namespace in its network: its first process stands for the hardware.
host_up() {
    local dir=$1 host=$2
    mkdir -p "$dir/$host/state"
    profile "$dir" "$host" >"$dir/$host/manager.toml"
    [ "$BARE" = 0 ] || touch "$dir/$host/manager.off"
    [ ! -e "$dir/ca" ] || certify "$dir" "$host"
    in_net switch ip link set "port-$host" up
    (exec nsenter --net="/run/netns/$host" -- unshare --mount --pid --fork --mount-proc \
        bash "$SELF" host-init "$dir" "$host") </dev/null >>"$dir/$host/host.log" 2>&1 &
    echo $! >"$dir/$host/outer.pid"
    until host_pid "$dir" "$host" >/dev/null; do sleep 0.01; done
}

# The first host founds the cluster, the other one joins it before its manager makes anything. What a host has
# is on its disk, and stays when it dies.
certify() {
    local dir=$1 host=$2 end=$((SECONDS + JOIN_PATIENCE)) token
    [ ! -d "$dir/$host/state/pki" ] || return 0
    if [ "$host" = a ]; then
        on_disk_of a init >>"$dir/a/host.log"
        return 0
    fi
    until in_net switch bash -c "exec 3<>/dev/tcp/${HOST_ADDRESS[a]}/8443" 2>/dev/null; do
        [ $SECONDS -lt "$end" ] || die "the manager of host a does not answer: $(tail -n 5 "$dir/a/manager.log")"
        sleep 0.05
    done
    token=$(on_disk_of a token 2>>"$dir/a/host.log")
    on_disk_of "$host" join "${HOST_ADDRESS[a]}" - <<<"$token" >>"$dir/$host/host.log"
}

# A command of a host's manager that works on its files, from where the host's network is.
on_disk_of() {
    local host=$1
    shift
    in_net "$host" "$HOLDFAST_BIN/manager" --config "$HOLDFAST_LAB/$host/manager.toml" "$@"
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
    if [ "$MACHINES" = vms ]; then
        own_libvirt "$dir" "$host"
        virtlogd --daemon --config /etc/libvirt/virtlogd.conf --pid-file /run/libvirt/virtlogd.pid
        keep_libvirtd "$dir" "$host" &
        await_libvirtd "$dir" "$host"
    fi
    [ "$BARE" = 0 ] || own_programs "$dir" "$host"
    while :; do
        if [ ! -e "$dir/$host/manager.off" ]; then
            "$HOLDFAST_BIN/manager" --config "$dir/$host/manager.toml" run >>"$dir/$host/manager.log" 2>&1 || true
            [ -e "$dir/$host/manager.off" ] || sleep "$MANAGER_RESTART"
        fi
        sleep 0.1
    done
}

# Places to install something at, without leaving anything on this machine but empty directories.
own_programs() {
    local own=$1/$2
    mkdir -p "$own/bin" "$own/work" "$own/etc" "$own/lib" /etc/holdfast /var/lib/holdfast
    mount -t overlay overlay -o "lowerdir=/usr/bin,upperdir=$own/bin,workdir=$own/work" /usr/bin
    mount --bind "$own/etc" /etc/holdfast
    mount --bind "$own/lib" /var/lib/holdfast
}

# --- inside: a host's libvirt ------------------------------------------------------------------------

# Everything libvirt reads and writes, at the places where it looks, but the host's own: settings and
# state are kept over the host's death, as on a disk, and /run is empty after it. What it learns about
# QEMU (it takes a second of work) all labs of these images share.
own_libvirt() {
    local dir=$1 host=$2 own=$1/$2/libvirt cache=$IMAGES/.libvirt-cache
    mkdir -p "$own/etc" "$own/lib" "$own/log" "$cache" \
        /run/libvirt /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt
    mount -t tmpfs tmpfs /run/libvirt
    [ -e "$own/uuid" ] || cat /proc/sys/kernel/random/uuid >"$own/uuid"
    cat >"$own/etc/libvirtd.conf" <<-EOF
	host_uuid = "$(cat "$own/uuid")"
	auth_unix_ro = "none"
	auth_unix_rw = "none"
	unix_sock_ro_perms = "0700"
	unix_sock_rw_perms = "0700"
	log_outputs = "3:stderr"
	EOF
    # There is no security module, no control group and no mount of huge pages to share with this machine.
    cat >"$own/etc/qemu.conf" <<-EOF
	user = "root"
	group = "root"
	security_driver = "none"
	namespaces = []
	cgroup_controllers = []
	hugetlbfs_mount = []
	remember_owner = 0
	EOF
    echo 'log_outputs = "3:stderr"' >"$own/etc/virtlogd.conf"
    mount --bind "$own/etc" /etc/libvirt
    mount --bind "$own/lib" /var/lib/libvirt
    mount --bind "$own/log" /var/log/libvirt
    mount --bind "$cache" /var/cache/libvirt
}

# A new one starts only when the old one is collected, and with it its hold on the pid file.
keep_libvirtd() {
    local dir=$1 host=$2
    while :; do
        if [ ! -e "$dir/$host/libvirtd.off" ]; then
            libvirtd --config "$dir/$host/libvirt/etc/libvirtd.conf" --pid-file /run/libvirt/libvirtd.pid \
                >>"$dir/$host/libvirtd.log" 2>&1 || true
            [ -e "$dir/$host/libvirtd.off" ] || sleep "$LIBVIRTD_RESTART"
        fi
        sleep 0.1
    done
}

# Until it can be talked to, unless somebody stopped it. The manager must bear that it is not there, so
# that is not waited for for ever.
await_libvirtd() {
    local end=$((SECONDS + LIBVIRTD_PATIENCE))
    until [ -S /run/libvirt/libvirt-sock ] || [ -e "$1/$2/libvirtd.off" ] || [ $SECONDS -ge "$end" ]; do
        sleep 0.02
    done
}

# --- inside: faults ----------------------------------------------------------------------------------

# The process whose command line looks like this.
process_like() {
    local cmdline
    for cmdline in /proc/[0-9]*/cmdline; do
        if tr '\0' ' ' <"$cmdline" 2>/dev/null | grep -q "$1"; then
            cmdline=${cmdline#/proc/}
            echo "${cmdline%/cmdline}"
            return 0
        fi
    done
    return 1
}

# The first process of a machine; of a virtual one, its QEMU.
machine_pid() {
    local id=$2 directory=$1/${2%%-*}/state/machines/$2
    # One that was a spare runs in that one's files.
    directory=$(readlink "$directory/body" || echo "$directory")
    case $MACHINES in
        vms) process_like "^[^ ]*qemu-system[^ ]* .*$directory/" ;;
        namespaces) process_like "namespace-machine init .*$directory " ;;
    esac || die "no machine $id runs"
}

# Every process of a machine, the first one first.
machine_members() {
    local init=$1 namespace process
    if [ "$MACHINES" = vms ]; then
        echo "$init"
        return 0
    fi
    namespace=$(readlink "/proc/$init/ns/pid")
    echo "$init"
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/ns/pid" 2>/dev/null)" = "$namespace" ]; then echo "${process#/proc/}"; fi
    done
}

# The host's end of a machine's cable: hf and the address in hexadecimal.
machine_port() {
    local dir=$1 id=$2 address
    address=$(sed -n 's/.*"address": "\([0-9a-f.:]*\)".*/\1/p' "$dir/${id%%-*}/state/machines/$id/machine.json")
    if [ "$FAMILY" = 6 ]; then
        printf 'hf%08x' "0x${address#"$NETWORK"}"
    else
        # shellcheck disable=SC2086 # four words on purpose
        printf 'hf%02x%02x%02x%02x' ${address//./ }
    fi
}

# Pulls or plugs a machine's cable. A virtual machine needs no such help: what leaves it, leaves by its
# QEMU, and its port on the bridge is gone with that.
plug() {
    [ "$MACHINES" = vms ] || in_net "${2%%-*}" ip link set "$(machine_port "$1" "$2")" "$3"
}

# A power cut: from one moment to the next nothing comes from the machine any more.
kill_machine() {
    local dir=$1 id=$2 pid
    pid=$(machine_pid "$dir" "$id")
    plug "$dir" "$id" down
    kill -KILL "$pid"
}

freeze_machine() {
    local dir=$1 id=$2 pid
    pid=$(machine_pid "$dir" "$id")
    plug "$dir" "$id" down
    # shellcheck disable=SC2046 # a list of numbers
    kill -STOP $(machine_members "$pid") 2>/dev/null || true
}

thaw_machine() {
    local dir=$1 id=$2 pid
    pid=$(machine_pid "$dir" "$id")
    # shellcheck disable=SC2046 # a list of numbers
    kill -CONT $(machine_members "$pid") 2>/dev/null || true
    plug "$dir" "$id" up
}

# The balancer that holds the public address: the one that says so on the wire. While the address moves,
# nobody does for a moment.
holder() {
    local dir=$1 mac='' address file end=$((SECONDS + 5))
    while [ $SECONDS -lt "$end" ]; do
        mac=$(who_has_vip) || continue
        # A machine's MAC address is 02:48 and its IP address, or 02:36 and the end of its IPv6 one.
        if [ "$FAMILY" = 6 ]; then
            address=$NETWORK$(printf '%x' "0x$(sed 's/^02:36//; s/://g' <<<"$mac")")
        else
            # shellcheck disable=SC2046,SC2183 # four words on purpose
            address=$(printf '%d.%d.%d.%d' $(sed 's/^02:48//; s/:/ 0x/g' <<<"$mac"))
        fi
        for file in "$dir"/[abc]/state/machines/*/machine.json; do
            grep -q "\"address\": *\"$address\"" "$file" 2>/dev/null || continue
            basename "$(dirname "$file")"
            return 0
        done
        sleep 0.05
    done
    die "no balancer holds the public address${mac:+ (the one that answers is $mac)}"
}

# The MAC address that answers for the public address.
who_has_vip() {
    local mac
    in_net switch ip neigh del "$VIP" dev sw0 2>/dev/null || true
    # Any datagram makes the switch ask for the address.
    in_net switch bash -c "echo >/dev/udp/$VIP/9"
    for _ in $(seq 25); do
        mac=$(in_net switch ip neigh show "$VIP" dev sw0 | sed -n 's/.*lladdr \([0-9a-f:]*\) .*/\1/p')
        if [ -n "$mac" ]; then
            echo "$mac"
            return 0
        fi
        sleep 0.02
    done
    return 1
}

# The first service machine of a host.
stateless_of() {
    find "$1/$2/state/machines" -maxdepth 1 -name "$2-stateless-*" -printf '%f\n' | sort | head -n 1
}

manager_pid() {
    process_like "manager --config $1/$2/manager.toml run" || die "no manager runs on host $2"
}

libvirtd_pid() {
    [ "$MACHINES" = vms ] || die "the machines of this lab are namespaces: no libvirt daemon runs"
    process_like "^[^ ]*libvirtd --config $1/$2/libvirt/" || die "no libvirt daemon runs on host $2"
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
        lose)
            pid=$(host_pid "$dir" "$who") || die "host $who is down"
            in_net switch ip link set "port-$who" down
            kill -KILL "$pid"
            echo "{\"fault\": \"lose host\", \"host\": \"$who\"}"
            ;;
        return) host_up "$dir" "$who" && echo "{\"fault\": \"host $who returns\"}" ;;
        kill-all-stateless)
            # All are found first: between the first death and the last one nothing must be rebuilt.
            local ids id host pids=()
            local -A ports
            for host in "${HOSTS[@]}"; do
                ids=$(find "$dir/$host/state/machines" -maxdepth 1 -name "$host-stateless-*" -printf '%f\n')
                ports[$host]=
                for id in $ids; do
                    pids+=("$(machine_pid "$dir" "$id")")
                    [ "$MACHINES" = vms ] || ports[$host]+="link set $(machine_port "$dir" "$id") down"$'\n'
                done
            done
            for host in "${HOSTS[@]}"; do in_net "$host" ip -batch - <<<"${ports[$host]}"; done
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
        # These name no victim to the load tester: nobody is rebuilt after them.
        kill-libvirtd)
            pid=$(libvirtd_pid "$dir" "$who")
            kill -KILL "$pid"
            echo "{\"fault\": \"kill libvirtd of $who\"}"
            ;;
        stop-libvirtd)
            pid=$(libvirtd_pid "$dir" "$who")
            touch "$dir/$who/libvirtd.off"
            kill -TERM "$pid"
            while [ -d "/proc/$pid" ]; do sleep 0.02; done
            echo "{\"fault\": \"stop libvirtd of $who\"}"
            ;;
        start-libvirtd)
            rm -f "$dir/$who/libvirtd.off"
            echo "{\"fault\": \"start libvirtd of $who\"}"
            ;;
        kill-proxy)
            [ "$MACHINES" = namespaces ] \
                || die "nobody can reach into a virtual machine: order stop-process from its manager, or kill it"
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

# Where the manager of a host answers.
url_of() {
    case $FAMILY in
        4) echo "http://${HOST_ADDRESS[$1]}:8080" ;;
        6) echo "http://[${HOST_ADDRESS[$1]}]:8080" ;;
    esac
}

wait_whole() {
    local dir=$1 seconds=$2 status=
    local end=$((SECONDS + seconds))
    while [ $SECONDS -lt "$end" ]; do
        status=$("$SELF" exec "$dir" client \
            "$HOLDFAST_BIN/manager" --manager "$(url_of a)" -o json status 2>&1) || true
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
# A lab keeps what it was started with.
if [ -r "${1:-}/bin" ] && [ "$command" != up ]; then
    HOLDFAST_BIN=$(cat "$1/bin")
    MACHINES=$(cat "$1/machines")
    IMAGES=$(cat "$1/images")
    SETTINGS=$(cat "$1/settings")
    read -r -a HOSTS <"$1/hosts"
    FAMILY=$(cat "$1/family")
    HOST_RETURN=${HOLDFAST_HOST_RETURN:-$(cat "$1/host-return")}
fi
address_all
case $command in
    up)
        HOLDFAST_BIN=$(readlink -f "${HOLDFAST_BIN:?set it to the directory of the programs}")
        MACHINES=${HOLDFAST_MACHINES:-namespaces}
        IMAGES=$(readlink -m "${HOLDFAST_IMAGES:-$(dirname "$HOLDFAST_BIN")/images}")
        case $MACHINES in
            namespaces) ;;
            vms) check_vms ;;
            *) die "HOLDFAST_MACHINES is namespaces or vms, not $MACHINES" ;;
        esac
        echo "$HOLDFAST_BIN" >"$1/bin"
        echo "$MACHINES" >"$1/machines"
        echo "$IMAGES" >"$1/images"
        echo "$SETTINGS" >"$1/settings"
        echo "${HOSTS[*]}" >"$1/hosts"
        echo "$FAMILY" >"$1/family"
        echo "$HOST_RETURN" >"$1/host-return"
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
