#!/usr/bin/env bash
# Installs, upgrades, removes and purges the packages on a copy of this machine's root that is gone afterwards, and
# checks what each of these leaves. Needs root. HOLDFAST_BIN is the directory of the programs.
#
# No systemd runs in the copy: units are verified by its own tools, and their programs started as the units say.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[ $# = 0 ] || { help_of "$0" && exit 0; }

# How exposed each service may be, by `systemd-analyze security` (0 to 10, times ten).
declare -A MOST_EXPOSED=([lb]=20 [manager]=30)

if [ -z "${HOLDFAST_PACKAGES:-}" ]; then
    need dpkg:dpkg systemd-analyze:systemd unshare:util-linux
    PROGRAMS=${HOLDFAST_BIN:-$(target_directory)/debug}
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-packages.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    "$(dirname "${BASH_SOURCE[0]}")/../packages.sh" --programs "$PROGRAMS" --version 1.0 --out "$WORK/old" >/dev/null
    "$(dirname "${BASH_SOURCE[0]}")/../packages.sh" --programs "$PROGRAMS" --version 1.1 --out "$WORK/new" >/dev/null
    # The copy is an overlay on the root, in a mount namespace of its own: whatever is written stays in it.
    export HOLDFAST_PACKAGES=$WORK
    unshare --mount --pid --mount-proc --fork --kill-child bash "$(readlink -f "${BASH_SOURCE[0]}")"
    exit
fi

WORK=$HOLDFAST_PACKAGES
mkdir "$WORK/mnt"
mount -t tmpfs -o size=4g tmpfs "$WORK/mnt"
mkdir "$WORK/mnt/upper" "$WORK/mnt/work" "$WORK/mnt/root"
mount -t overlay -o "lowerdir=/,upperdir=$WORK/mnt/upper,workdir=$WORK/mnt/work" overlay "$WORK/mnt/root"
ROOT=$WORK/mnt/root
mkdir -p "$ROOT/packages"
cp "$WORK"/old/*.deb "$ROOT/packages/"
mkdir "$ROOT/packages/new" && cp "$WORK"/new/*.deb "$ROOT/packages/new/"
for place in proc sys dev; do mount --rbind "/$place" "$ROOT/$place"; done
within() { chroot "$ROOT" "$@"; }
dpkg_() { within dpkg --force-depends "$@" >"$WORK/dpkg.log" 2>&1 || { cat "$WORK/dpkg.log" >&2; die "dpkg $1 failed"; }; }
# What is there, without what every installation of anything changes.
listing() {
    (cd "$ROOT" && find etc usr var/lib lib -xdev \( -path var/lib/dpkg -o -path var/lib/systemd -o -path usr/share/man -o -path var/cache \) \
        -prune -o -print 2>/dev/null | sort)
}

say "install"
listing >"$WORK/before"
dpkg_ -i /packages/holdfast-manager_1.0_amd64.deb /packages/holdfast-lb_1.0_amd64.deb /packages/holdfast-loadtest_1.0_amd64.deb
for file in /usr/bin/manager /usr/bin/lb /usr/bin/loadtest /etc/holdfast/manager.toml /etc/holdfast/lb.toml \
    /usr/share/man/man1/manager-vm-create.1.gz /usr/share/man/man1/lb-run.1.gz /usr/share/man/man1/loadtest-compare.1.gz \
    /usr/share/bash-completion/completions/manager /usr/share/bash-completion/completions/lb \
    /usr/share/zsh/vendor-completions/_loadtest /usr/share/fish/vendor_completions.d/lb.fish; do
    [ -e "$ROOT$file" ] || die "$file was not installed"
done
[ "$(stat -c %a "$ROOT/etc/holdfast/manager.toml")" = 600 ] || die "the manager's settings can be read by everybody"
within manager --version | grep -q manager || die "the manager does not start"
within manager --config /etc/holdfast/manager.toml run --check | grep -q valid || die "the example is not valid"
within lb run --check | grep -q valid || die "the balancer's example is not valid"
within loadtest --version | grep -q loadtest || die "loadtest does not start"

say "units"
for unit in manager lb; do
    path=$(within sh -c "ls /lib/systemd/system/holdfast-$unit.service /usr/lib/systemd/system/holdfast-$unit.service 2>/dev/null | head -1")
    [ -n "$path" ] || die "holdfast-$unit.service was not installed"
    # What it says of other units of this machine is not ours.
    complaints=$(within systemd-analyze verify --man=no "$path" 2>&1 | grep "holdfast-$unit" || true)
    [ -z "$complaints" ] || die "$complaints"
    exposure=$(within systemd-analyze security --offline=true "$path" 2>/dev/null | sed -n 's/.*Overall exposure level.*: \([0-9]*\)\.\([0-9]\).*/\1\2/p')
    [ "$((10#$exposure))" -le "${MOST_EXPOSED[$unit]}" ] \
        || die "holdfast-$unit.service is exposed by $exposure tenths, more than ${MOST_EXPOSED[$unit]}"
    say "holdfast-$unit.service: exposure $((10#$exposure / 10)).$((10#$exposure % 10))"
    # Nobody has said what this host is: nothing starts by itself.
    [ -z "$(within find /etc/systemd/system -name "holdfast-$unit.service" -print -quit)" ] || die "holdfast-$unit.service was enabled"
done

say "the balancer as its unit starts it"
(
    cd "$WORK"
    # In a network of its own: the example listens on port 80.
    unshare --net sh -c "ip link set lo up; exec chroot '$ROOT' sh -c 'mkdir -p /var/lib/lb; exec /usr/bin/lb run'" >"$WORK/lb.log" 2>&1 &
    echo $! >"$WORK/lb.pid"
)
pid=$(cat "$WORK/lb.pid")
for attempt in $(seq 200); do
    nsenter --net="/proc/$pid/ns/net" curl -fsS -o /dev/null --max-time 1 http://127.0.0.1:8080/status 2>/dev/null && break
    [ "$attempt" -lt 200 ] || { cat "$WORK/lb.log" >&2; die "the balancer does not answer"; }
    sleep 0.1
done

say "upgrade"
echo '# mine' >>"$ROOT/etc/holdfast/manager.toml"
mkdir -p "$ROOT/var/lib/holdfast" && echo kept >"$ROOT/var/lib/holdfast/state"
dpkg_ --force-confold -i /packages/new/holdfast-manager_1.1_amd64.deb /packages/new/holdfast-lb_1.1_amd64.deb /packages/new/holdfast-loadtest_1.1_amd64.deb
within dpkg -s holdfast-manager | grep -qx 'Version: 1.1' || die "it was not upgraded"
grep -q '^# mine' "$ROOT/etc/holdfast/manager.toml" || die "the upgrade overwrote the settings"
[ "$(cat "$ROOT/var/lib/holdfast/state")" = kept ] || die "the upgrade took the state"
nsenter --net="/proc/$pid/ns/net" curl -fsS -o /dev/null http://127.0.0.1:8080/status || die "the upgrade ended a balancer that runs"
kill "$pid"

say "remove"
dpkg_ -r holdfast-manager holdfast-lb holdfast-loadtest
[ ! -e "$ROOT/usr/bin/manager" ] || die "the manager is still there"
for file in /etc/holdfast/manager.toml /var/lib/holdfast/state; do
    [ -e "$ROOT$file" ] || die "removing took $file"
done

say "purge"
dpkg_ -P holdfast-manager holdfast-lb holdfast-loadtest
listing >"$WORK/after"
left=$(comm -13 "$WORK/before" "$WORK/after")
[ -z "$left" ] || die "purging left: $left"
say "nothing is left"
