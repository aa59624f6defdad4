#!/usr/bin/env bash
# Lets the distribution's own cloud-init read a seed, as it would in a guest, without installing it: an
# installed cloud-init would reconfigure this machine at its next boot.
#
#   cloud_init.sh fetch CACHE
#       downloads the Debian packages of cloud-init and of what it needs, and unpacks them below CACHE.
#       What is there is not fetched again. Prints the version of cloud-init.
#
#   cloud_init.sh read CACHE SEED MAC
#       attaches the image SEED as a disk, gives cloud-init a network card MAC, and prints what it makes
#       of the seed as JSON. On standard error: cloud-init's log. Needs root, and no network.
#
# cloud-init is shown a machine of its own: namespaces in which /dev has no other disk, and where whatever
# it writes is gone afterwards. Where the kernel knows no FAT (vfat), mtools read the disk in its place.
#
# Needs the Debian packages: python3 iproute2 mount util-linux, and apt-get
#
# Exit code: 0 it was read, 1 not.
set -euo pipefail

HERE=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")")
# cloud-init and what checks its work: netplan reads what it writes, dosfstools check the disk.
PACKAGES=(cloud-init netplan.io dosfstools mtools)
# The interpreter that these packages are for.
PYTHON=/usr/bin/python3

die() { echo "cloud_init: $*" >&2; exit 1; }
help() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$0"; }

# The directory of what was unpacked: another one for another distribution or other packages.
root_in() {
    local key
    key=$({ sed -n 's/^\(ID\|VERSION_ID\)=//p' /etc/os-release; echo "${PACKAGES[@]}"; } | sha256sum)
    echo "$1/${key:0:16}"
}

# needs PACKAGE PATTERN: those of all packages that PACKAGE needs whose names match.
needs() {
    apt-cache depends --recurse --no-pre-depends --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances "$1" | { grep --extended-regexp "^($2)" || true; }
}

# Also what is installed already: what is unpacked is complete without this machine's Python packages.
download() (
    packages=$(printf '%s\n' "${PACKAGES[@]}" && needs cloud-init 'python3-[^:]+$' \
        && needs netplan.io 'lib(netplan|yaml)[^:]*$|netplan-[^:]+$') || exit 1
    cd "$1" && rm -f -- *.deb && sort --unique <<< "$packages" \
        | xargs apt-get -qq -o APT::Sandbox::User=root download
)

fetch() {
    local cache=$1 root new package
    root=$(root_in "$cache")
    command -v apt-get >/dev/null || die "cloud-init is fetched from Debian or Ubuntu; this is neither"
    mkdir -p "$cache"
    # Two tests at once: one fetches, the other waits.
    exec 8> "$cache/lock"
    flock 8
    if [ ! -e "$root" ]; then
        new=$(mktemp -d "$cache/new.XXXXXX")
        trap 'rm -rf "$new"' EXIT
        mkdir "$new/packages" "$new/root"
        # The lists of packages may be missing, or name versions that the mirror has no more.
        download "$new/packages" 2>/dev/null \
            || { apt-get -qq update && download "$new/packages" 2> "$new/log"; } \
            || die "apt-get cannot download cloud-init and what it needs:" \
                "$(grep --no-messages --max-count=1 '^E:' "$new/log" || echo "apt-get update fails")"
        for package in "$new"/packages/*.deb; do
            dpkg-deb -x "$package" "$new/root"
        done
        dpkg-deb -f "$new"/packages/cloud-init_*.deb Version > "$new/root/VERSION"
        mv "$new/root" "$root"
        rm -rf "$new"
        trap - EXIT
    fi
    exec 8>&-
    echo "cloud-init $(cat "$root/VERSION")"
}

# The machine that cloud-init is shown. Runs in new namespaces.
stage() {
    local seed=$1 mac=$2
    mount -t sysfs sysfs /sys
    ip link set lo up
    ip link add ens3 address "$mac" type veth peer name cable
    device=$(losetup --find --show --read-only "$seed")
    # A disk that is detached while it is open goes when it is closed, however this program ends.
    exec 9< "$device"
    losetup --detach "$device"
    local major minor
    read -r major minor < <(stat --format '%t %T' "$device")
    mount -t tmpfs tmpfs /dev
    mknod "$device" b "0x$major" "0x$minor"
    mknod /dev/null c 1 3
    mknod /dev/zero c 1 5
    mknod /dev/urandom c 1 9
    mount -t tmpfs tmpfs /run
    mkdir -p /run/cloud-init /run/nothing /run/bin
    # Nothing of this computer can be written to by mistake.
    mount -o remount,bind,ro /
}

knows_vfat() {
    grep -qw vfat /proc/filesystems || { modprobe -q vfat 2>/dev/null && grep -qw vfat /proc/filesystems; }
}

# Stands in for the mount of `mount -o ro -t auto DEVICE DIRECTORY`.
without_vfat() {
    cat > /run/bin/mount << EOF
#!/usr/bin/env bash
set -euo pipefail
$(command -v mount) -t tmpfs tmpfs "\${@: -1}"
'$1/usr/bin/mcopy' -n -i "\${@: -2:1}" '::*' "\${@: -1}"
EOF
    chmod +x /run/bin/mount
    echo "this kernel knows no vfat: mtools read the disk" >&2
}

read_seed() {
    local root=$1 seed=$2 mac=$3 device libraries
    stage "$seed" "$mac"
    "$(first "$root"/sbin/fsck.fat "$root"/usr/sbin/fsck.fat)" -n "$device" >&2
    knows_vfat || without_vfat "$root"
    # At boot this decides whether there is anything for cloud-init to do. What this computer itself was
    # booted with, or was made by, is not the guest's.
    DI_LOG=stderr PATH_ETC_CLOUD=$root/etc/cloud PATH_PROC_CMDLINE=/run/nothing/x \
        PATH_PROC_1_CMDLINE=/run/nothing/x PATH_SYS_CLASS_DMI_ID=/run/nothing \
        "$root/usr/lib/cloud-init/ds-identify" >&2 || die "ds-identify finds nothing for cloud-init to do"
    libraries=$(first "$root"/usr/lib/*/libnetplan.so.*)
    # -S: none of this machine's own packages. -B: the cache stays as it was unpacked.
    PATH=/run/bin:$PATH DEBUG_PROC_CMDLINE='' PYTHONPATH=$root/usr/lib/python3/dist-packages \
        NETPLAN="$(first "$root"/usr/libexec/netplan/generate "$root"/lib/netplan/generate)" \
        NETPLAN_LIBRARIES="${libraries%/*}" "$PYTHON" -S -B "$HERE/cloud_init.py" "$mac"
}

# The first of these files that is there.
first() {
    local file
    for file in "$@"; do
        [ ! -e "$file" ] || { echo "$file"; return 0; }
    done
    die "not in the packages: $*"
}

case ${1:-} in
    -h | --help) help ;;
    fetch)
        [ $# = 2 ] || die "expected: fetch CACHE"
        fetch "$2"
        ;;
    read)
        [ $# = 4 ] || die "expected: read CACHE SEED MAC"
        [ -x "$PYTHON" ] || die "please install: python3"
        root=$(readlink -f "$(root_in "$2")")
        [ -e "$root" ] || die "nothing was fetched to $2: run '$0 fetch $2' first"
        exec unshare --mount --net -- "$0" inside "$root" "$3" "$4"
        ;;
    inside)
        shift
        read_seed "$@"
        ;;
    *) die "fetch or read? See --help" ;;
esac
