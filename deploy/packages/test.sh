#!/usr/bin/env bash
# Installs, upgrades, removes and purges the packages on a copy of this machine's root that is gone afterwards, and
# checks what each of these leaves. Needs root. HOLDFAST_BIN is the directory of the programs.
#
# No systemd runs in the copy: units are verified by its own tools, and their programs started as the units say. The manager keeps
# namespace machines there, in a network of its own, and they and the public address outlive the upgrade.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
[ $# = 0 ] || { help_of "$0" && exit 0; }

# How exposed each service may be, by `systemd-analyze security` (0 to 10, times ten).
declare -A MOST_EXPOSED=([lb]=20 [manager]=30)

if [ -z "${HOLDFAST_PACKAGES:-}" ]; then
    need dpkg:dpkg systemd-analyze:systemd unshare:util-linux ip:iproute2 curl:curl jq:jq
    PROGRAMS=${HOLDFAST_BIN:-$(target_directory)/debug}
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-packages.XXXXXX")
    trap 'rm -rf "$WORK"' EXIT
    "$(dirname "${BASH_SOURCE[0]}")/../packages.sh" --programs "$PROGRAMS" --version 1.0 --out "$WORK/old" --fast >/dev/null
    "$(dirname "${BASH_SOURCE[0]}")/../packages.sh" --programs "$PROGRAMS" --version 1.1 --out "$WORK/new" --fast >/dev/null
    cp "$PROGRAMS/lb" "$PROGRAMS/stateless" "$WORK/"
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
# What would say that systemd runs.
mount -t tmpfs tmpfs "$ROOT/run"
within() { chroot "$ROOT" "$@"; }
# wait_for WHAT COMMAND… waits until the command succeeds, for half a minute.
wait_for() {
    local what=$1
    shift
    for _ in $(seq 300); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    tail -n 20 "$WORK"/*.log >&2 || true
    die "not within 30 s: $what"
}
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
    /usr/share/zsh/vendor-completions/_loadtest /usr/share/fish/vendor_completions.d/lb.fish \
    /usr/lib/sysusers.d/holdfast-manager.conf /usr/lib/tmpfiles.d/holdfast-manager.conf /var/lib/holdfast/images; do
    [ -e "$ROOT$file" ] || die "$file was not installed"
done
[ "$(stat -c %a "$ROOT/etc/holdfast/manager.toml")" = 600 ] || die "the manager's settings can be read by everybody"
within manager --version | grep -q manager || die "the manager does not start"
within manager --config /etc/holdfast/manager.toml run --check | grep -q valid || die "the example is not valid"
within lb run --check | grep -q valid || die "the balancer's example is not valid"
within loadtest --version | grep -q loadtest || die "loadtest does not start"

within getent group holdfast >/dev/null || die "there is no group for the manager's socket"

say "what is linked"
for package in manager lb loadtest; do
    doc=$ROOT/usr/share/doc/holdfast-$package
    jq -e '.bomFormat == "CycloneDX"' "$doc/sbom.cdx.json" >/dev/null || die "holdfast-$package has no list of what is linked"
    # Each crate of others by name in both, and none that only tests need.
    zcat "$doc/LICENCES.gz" >"$WORK/licences"
    jq -r '.components[] | select(.purl | contains("download_url=file:") | not) | "\(.name) \(.version):"' "$doc/sbom.cdx.json" >"$WORK/linked"
    [ "$(wc -l <"$WORK/linked")" -gt 100 ] || die "holdfast-$package is made of more than that: $(cat "$WORK/linked")"
    while read -r crate; do
        grep -qF -- "$crate" "$WORK/licences" || die "holdfast-$package says nothing of the licence of $crate"
    done <"$WORK/linked"
    ! grep -q '^proptest \|^criterion ' "$WORK/linked" || die "holdfast-$package lists what only tests need"
done

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

say "the manager as its unit starts it, with machines and a public address"
mkdir "$ROOT/programs"
cp "$WORK/lb" "$WORK/stateless" "$ROOT/programs/"
sed 's/^hypervisor = .*/hypervisor = "namespaces"\nprograms = "\/programs"/; /^peers = /d; /^uplink = /d' \
    "$(dirname "${BASH_SOURCE[0]}")/../hosts/a/manager.toml" >"$ROOT/etc/holdfast/manager.toml"
echo '# mine' >>"$ROOT/etc/holdfast/manager.toml"
echo kept >"$ROOT/var/lib/holdfast/state"
# A network with nobody in it but this host, which is also the client. Who holds it is a process that only waits.
unshare --net sleep infinity &
network=$!
wait_for "a network" sh -c "[ \"\$(readlink /proc/$network/ns/net)\" != \"\$(readlink /proc/self/ns/net)\" ]"
on_host() { nsenter --net="/proc/$network/ns/net" "$@"; }
on_host ip link set lo up
on_host ip link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
on_host ip link set br0 address 02:48:c0:a8:0a:01
on_host ip address add 192.168.10.1/24 dev br0
on_host ip link set br0 up
start_manager() {
    # The process that is started is the manager itself: it is to be ended, and not who waits for it.
    (exec nsenter --net="/proc/$network/ns/net" chroot "$ROOT" /usr/bin/manager run >>"$WORK/manager.log" 2>&1) &
    manager=$!
}
whole() { on_host chroot "$ROOT" /usr/bin/manager status --exit-code >"$WORK/status" 2>&1; }
answers() { on_host curl -fsS -o /dev/null --max-time 1 http://192.168.10.120/random/number; }
# The machines, each by its first process.
machines() { on_host chroot "$ROOT" /usr/bin/manager -o json status | jq -c '[.. | objects | select(has("incarnation")) | [.id, .incarnation]] | unique'; }
processes() { pgrep -f 'namespace-machine init' | sort -n | xargs; }
start_manager
wait_for "the machines are ready" whole
wait_for "the public address answers" answers
before_machines=$(machines) before_processes=$(processes)
[ "$(wc -w <<<"$before_processes")" = 3 ] || die "expected three machines, found: $before_processes; $(cat "$WORK/status")"

say "upgrade"
# A client that asks all the time, and says how often it was not answered.
(
    failed=0 asked=0
    while [ ! -e "$WORK/asked-enough" ]; do
        asked=$((asked + 1))
        answers 2>>"$WORK/client.log" || failed=$((failed + 1))
    done
    echo "$asked $failed" >"$WORK/asked"
) &
client=$!
dpkg_ --force-confold -i /packages/new/holdfast-manager_1.1_amd64.deb /packages/new/holdfast-lb_1.1_amd64.deb /packages/new/holdfast-loadtest_1.1_amd64.deb
within dpkg -s holdfast-manager | grep -qx 'Version: 1.1' || die "it was not upgraded"
grep -q '^# mine' "$ROOT/etc/holdfast/manager.toml" || die "the upgrade overwrote the settings"
[ "$(cat "$ROOT/var/lib/holdfast/state")" = kept ] || die "the upgrade took the state"
nsenter --net="/proc/$pid/ns/net" curl -fsS -o /dev/null http://127.0.0.1:8080/status || die "the upgrade ended a balancer that runs"
kill "$pid"
[ "$(processes)" = "$before_processes" ] || die "the upgrade ended machines"
# What systemd does after it: the manager is ended, and the new one started.
kill "$manager"
wait "$manager" || true
[ "$(processes)" = "$before_processes" ] || die "the manager's end was that of its machines"
start_manager
wait_for "the new manager has found its machines" whole
kill -0 "$manager" || die "the new manager ended: $(tail -n 5 "$WORK/manager.log")"
[ "$(grep -c 'manager starts' "$WORK/manager.log")" = 2 ] || die "a manager was not started twice: $(cat "$WORK/manager.log")"
[ "$(processes)" = "$before_processes" ] || die "the new manager has other machines: $(processes), not $before_processes"
[ "$(machines)" = "$before_machines" ] || die "the new manager built machines anew: $(machines), not $before_machines"
touch "$WORK/asked-enough"
wait "$client"
read -r asked failed <"$WORK/asked"
if [ "$failed" != 0 ] || [ "$asked" -lt 10 ]; then die "of $asked requests to the public address $failed failed: $(tail -n 3 "$WORK/client.log")"; fi
say "the same three machines; of $asked requests to the public address none failed"

say "remove"
dpkg_ -r holdfast-manager holdfast-lb holdfast-loadtest
[ ! -e "$ROOT/usr/bin/manager" ] || die "the manager is still there"
for file in /etc/holdfast/manager.toml /var/lib/holdfast/state; do
    [ -e "$ROOT$file" ] || die "removing took $file"
done

[ "$(processes)" = "$before_processes" ] || die "removing ended machines"
answers || die "removing ended the public address"
kill "$manager"
wait "$manager" || true
# One may end with another.
# shellcheck disable=SC2046 # a list of numbers
kill -KILL $(processes) "$network" 2>/dev/null || true
wait_for "the end of the machines" sh -c '! pgrep -f "namespace-machine [i]nit" >/dev/null'
rm -rf "${ROOT:?}/programs"

say "purge"
dpkg_ -P holdfast-manager holdfast-lb holdfast-loadtest
listing >"$WORK/after"
left=$(comm -13 "$WORK/before" "$WORK/after")
[ -z "$left" ] || die "purging left: $left"
! within getent group holdfast >/dev/null || die "purging left the group"

say "where systemd was never installed"
rm -f "$ROOT"/usr/bin/systemd-sysusers "$ROOT"/usr/bin/systemd-tmpfiles "$ROOT"/bin/systemd-sysusers "$ROOT"/bin/systemd-tmpfiles
dpkg_ -i /packages/holdfast-manager_1.0_amd64.deb
within getent group holdfast >/dev/null || die "there is no group without systemd"
[ -d "$ROOT/var/lib/holdfast/images" ] || die "there is no place for images without systemd"
dpkg_ -P holdfast-manager
listing >"$WORK/after"
left=$(comm -13 "$WORK/before" "$WORK/after")
[ -z "$left" ] || die "purging left: $left"
say "nothing is left"
