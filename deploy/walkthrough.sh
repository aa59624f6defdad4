#!/usr/bin/env bash
# Takes the way that docs/two-hosts.md describes for two real machines, command by command, on two hosts of a lab, and then
# runs the commands of the other pages there: what is written is what is run.
#
#   deploy/walkthrough.sh [PAGE…]      the pages whose commands are run afterwards; without any, all of them
#
# A block of commands begins with three backticks and `sh two-hosts WHERE`, where WHERE is a, b or both; or, in other pages,
# `sh lab`, which is run on a. The hosts have a cable called enp3s0 and nothing else of what the page sets up; with
# HOLDFAST_MACHINES=vms (without it they are namespaces) also a libvirt daemon each, and then root is needed.
# Left out is what a lab has no place for: installing packages and Rust (they are asked for only), netplan
# (deploy/network/check.sh applies its files) and building (HOLDFAST_BIN and, for virtual machines, HOLDFAST_IMAGES say where
# it was done). What the packages put in place is put there; deploy/packages/test.sh has the packages themselves. systemd's
# part is played by starting what the unit starts.
#
# Exit code: 0 all commands succeeded, 1 not.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
case ${1:-} in -h | --help) help_of "$0" && exit 0 ;; esac
cd "$ROOT"

: "${HOLDFAST_BIN:?the directory of the programs}"
export HOLDFAST_MACHINES=${HOLDFAST_MACHINES:-namespaces}
[ "$HOLDFAST_MACHINES" = namespaces ] || : "${HOLDFAST_IMAGES:?the directory of the images}"
BIN=$(readlink -f "$HOLDFAST_BIN")
# How long the cluster may take to be whole again after a block of commands, in seconds.
PATIENCE=120
PAGES=("$@")
[ $# -gt 0 ] || mapfile -t PAGES < <(grep -l '^```sh lab' docs/*.md)

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

# commands PAGE KIND: each command of the blocks of a kind, behind the line it is on, where it is run (a without a word
# for it) and whether it is the last of its block.
commands() {
    awk -v kind="$2" '
        function put(last) { if (line != "") print number "\t" where "\t" last "\t" line }
        /^```/ && inside { put("last"); line = ""; inside = 0; next }
        /^```sh / && $2 == kind { inside = 1; where = $3 == "" ? "a" : $3; next }
        inside && NF { put("more"); line = $0; number = NR }
    ' "$1"
}

# What stands for what a lab does not have, for every command of a host.
cat >"$LAB/host.sh" <<EOF
cd '$ROOT'
sudo() { "\$@"; }
# The service, as its unit has it.
running() { cat "$LAB/\$HOST/service.pid" 2>/dev/null; }
stop_service() {
    local pid
    pid=\$(running) || return 0
    kill "\$pid" 2>/dev/null || true
    while kill -0 "\$pid" 2>/dev/null; do sleep 0.05; done
}
systemctl() {
    case "\$*" in
        'enable --now holdfast-manager' | 'start holdfast-manager' | 'restart holdfast-manager')
            stop_service
            setsid $(sed -n 's/^ExecStart=//p' deploy/systemd/holdfast-manager.service) >>'$LAB'/\$HOST/service.log 2>&1 </dev/null &
            echo \$! >"$LAB/\$HOST/service.pid"
            until [ -S /var/lib/holdfast/manager.sock ] && manager status >/dev/null 2>&1; do sleep 0.05; done
            ;;
        'stop holdfast-manager') stop_service ;;
        *) echo "no such unit in a lab: \$*" >&2 && return 1 ;;
    esac
}
EOF

on() {
    local host=$1
    shift
    deploy/lab.sh exec "$LAB" "$host" env HOST="$host" bash -euo pipefail -c ". '$LAB/host.sh'; $*" 9>&-
}

# A command of the page as it is run on a host: on b with what the page gives for b.
adapt() {
    if [ "$1" = b ]; then
        sed 's/02:48:c0:a8:0a:01/02:48:c0:a8:0a:02/; s|192.168.10.1/24|192.168.10.2/24|; s|deploy/hosts/a/|deploy/hosts/b/|'
    else
        cat
    fi | sed -E "s/  +# on b: .*//; s|target/images|${HOLDFAST_IMAGES:-}|g; s|TOKEN|${TOKEN:-}|
        s/--rate [0-9]+ --duration [0-9]+s/--rate 20 --duration 5s/"
}

# What the package puts on a host; for namespaces also what images would hold.
install_package() {
    local host=$1 programs=(manager loadtest)
    [ "$HOLDFAST_MACHINES" = vms ] || programs+=(lb stateless)
    for program in "${programs[@]}"; do on "$host" "install -t /usr/bin '$BIN/$program'"; done
}

TOKEN=''
run() {
    local host=$1 command=$2
    case $command in
        *'apt-get install'*'./target/debian'*) install_package "$host" && return ;;
        *'apt-get install'*)
            # shellcheck disable=SC2086 # a list of packages
            apt-cache show --quiet ${command##*-y } >/dev/null || die "no such packages: $command"
            return
            ;;
        *rustup* | *cargo/env* | 'cd holdfast' | *netplan* | *deploy/packages.sh | alpine-image/build.sh) return ;;
        *'cp -r target/images'*) [ "$HOLDFAST_MACHINES" = vms ] || return 0 ;;
    esac
    command=$(adapt "$host" <<<"$command")
    say "$host: $command"
    case $command in
        *'manager token'*)
            TOKEN=$(on "$host" "$command")
            TOKEN=$(grep -o 'HF1\.[0-9a-f.]*' <<<"$TOKEN")
            ;;
        *'install '*'/etc/holdfast/manager.toml'*)
            on "$host" "$command"
            [ "$HOLDFAST_MACHINES" = vms ] || on "$host" "sed -i 's/^hypervisor = .*/hypervisor = \"namespaces\"/' /etc/holdfast/manager.toml"
            # The package makes the group.
            on "$host" "sed -i '/^socket_group = /d' /etc/holdfast/manager.toml"
            ;;
        *) on "$host" "$command" ;;
    esac
}

whole() {
    local end=$((SECONDS + PATIENCE))
    until on a manager status --exit-code >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || die "$1: the cluster is not whole: $(on a manager status)"
        sleep 0.5
    done
}

need ping:iputils-ping curl:curl
say "Starting two bare hosts"
exec 9> >(HOLDFAST_BARE=1 exec setsid deploy/lab.sh up "$LAB" >"$LAB/lab.log" 2>&1)
for _ in $(seq 200); do
    [ ! -e "$LAB/up" ] || break
    sleep 0.1
done
[ -e "$LAB/up" ] || die "the hosts cannot be started: $(cat "$LAB/lab.log")"

count=0
while IFS=$'\t' read -r line where last command <&3; do
    if [ "$where" = both ]; then hosts=(a b); else hosts=("$where"); fi
    [[ $command != curl\ http://192.168.10.120* ]] || whole docs/two-hosts.md
    for host in "${hosts[@]}"; do run "$host" "$command" || die "docs/two-hosts.md:$line failed on $host"; done
    count=$((count + 1))
done 3< <(commands docs/two-hosts.md two-hosts)
[ "$count" -ge 20 ] || die "docs/two-hosts.md has only $count commands: what became of the others?"
whole docs/two-hosts.md
on a manager status

for page in "${PAGES[@]}"; do
    while IFS=$'\t' read -r line where last command <&3; do
        [ "$page" != docs/two-hosts.md ] || continue
        run "$where" "$command" >"$LAB/out" 2>&1 || die "$page:$line failed: $(cat "$LAB/out")"
        [ "$last" = more ] || whole "$page:$line"
    done 3< <(commands "$page" lab)
done
say "All commands succeeded"
