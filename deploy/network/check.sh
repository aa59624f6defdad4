#!/usr/bin/env bash
# Applies the bridge examples in network namespaces, with the programs they are written for, and looks at
# what comes of it.
#
#   deploy/network/check.sh
#
# Prints one line for what could not be checked because its program is not there. Needs root.
#
# Exit code: 0 all that was checked is right, 1 not.
set -euo pipefail

SELF=$(readlink -f "${BASH_SOURCE[0]}")
HERE=$(dirname "$SELF")
NETWORKD=/lib/systemd/systemd-networkd
PATIENCE=15

die() { echo "check: $*" >&2; exit 1; }

# expect WHAT PATTERN COMMAND… waits until the command's output has a line like the pattern.
expect() {
    local what=$1 wanted=$2 end=$((SECONDS + PATIENCE))
    shift 2
    until "$@" 2>/dev/null | grep -Eq "$wanted"; do
        [ $SECONDS -lt $end ] || die "$what: expected $wanted, found: $("$@" 2>&1)"
        sleep 0.05
    done
}

# Runs networkd with the settings in a directory, on a machine that has nothing but a cable without a
# carrier, and an uplink that must be left alone.
inside() {
    local name=$1 settings=$2 number=$3 networkd
    mount -t tmpfs tmpfs /run
    mkdir -p /run/systemd/network
    mount -t tmpfs tmpfs /etc/systemd/network 2>/dev/null || die "no directory /etc/systemd/network to put a file in"
    cp "$settings"/* /run/systemd/network/
    # Without udev nobody says that an interface is ready; where /sys cannot be written networkd knows that.
    mount -t sysfs -o ro sysfs /sys
    ip link set lo up
    ip link add CABLE type veth peer name far
    ip link add uplink type veth peer name world
    ip address add 10.9.8.7/24 dev uplink
    ip link set uplink up
    "$NETWORKD" >/run/networkd.log 2>&1 &
    networkd=$!
    # shellcheck disable=SC2064 # the process there is now
    trap "kill $networkd; wait $networkd || true; [ -e /run/good ] || cat /run/networkd.log >&2" EXIT
    expect "$name: address, cable out" "inet 192\.168\.10\.$number/24 " ip address show dev br0
    ip link set far up
    expect "$name: cable" 'master br0 .*state UP' ip link show dev CABLE
    expect "$name: bridge" 'state UP' ip link show dev br0
    expect "$name: MAC address" "link/ether 02:48:c0:a8:0a:0$number " ip link show dev br0
    expect "$name: bridge" 'forward_delay 0 .*stp_state 0 ' ip -details link show dev br0
    expect "$name: uplink" 'inet 10\.9\.8\.7/24 ' ip address show dev uplink
    # A port with a lower address, as a machine's may be.
    ip link add port address 02:00:00:00:00:01 type veth peer name machine
    ip link set port master br0 up
    ip link set machine up
    expect "$name: MAC address with a machine" "link/ether 02:48:c0:a8:0a:0$number " ip link show dev br0
    ip link set far down
    expect "$name: address, cable out again" "inet 192\.168\.10\.$number/24 " ip address show dev br0
    touch /run/good
}

apply() { unshare --mount --net --pid --fork --kill-child --mount-proc bash "$SELF" inside "$@"; }

check() {
    local host number root skipped=()
    [ -x "$NETWORKD" ] || skipped+=("systemd-networkd is not installed")
    command -v netplan >/dev/null || skipped+=("netplan is not installed")
    for host in a b; do
        number=1
        [ "$host" = a ] || number=2
        if [ -x "$NETWORKD" ]; then
            apply "systemd-networkd, host $host" "$HERE/systemd-networkd/host-$host" "$number" >&2
        fi
        if command -v netplan >/dev/null; then
            root=$(mktemp -d)
            install -D -m 600 "$HERE/netplan/host-$host.yaml" "$root/etc/netplan/60-holdfast.yaml"
            netplan generate --root-dir "$root" >&2 || die "netplan refuses host-$host.yaml"
            if [ -x "$NETWORKD" ]; then
                chmod -R go+rX "$root"
                apply "netplan, host $host" "$root/run/systemd/network" "$number" >&2
            fi
            rm -rf "$root"
        fi
    done
    [ ${#skipped[@]} -eq 0 ] || printf '%s\n' "$(IFS=';'; echo "${skipped[*]}")"
}

case ${1:-} in
    inside) inside "${@:2}" ;;
    -h | --help) sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$SELF" ;;
    *) check ;;
esac
