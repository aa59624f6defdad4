#!/usr/bin/env bash
# Installs what is missing and runs the tests.
#
#   deploy/test.sh [--yes] [--seeds N] [SUITE…]      without a name: all of them
#
#   quick        format, lints, licences, shell scripts, unit tests, the programs on loopback
#   sim          whole clusters under faults, simulated: 1,000 seeds, at least 20 faults each
#   namespaces   two hosts, their machines and the VIP in network namespaces, under faults; TCP services that the
#                kernel forwards; the commands of the documentation
#   machines     the guest image, and two hosts with libvirt and real virtual machines, under faults;
#                needs root
#   interop      our VRRP beside the real keepalived, and what tcpdump thinks of it; our HTTP/1.1 beside nginx's and
#                HAProxy's; HTTP/2, gRPC and WebSockets with curl, nghttp2 and programs from PyPI; HAProxy before us;
#                balancers announced by BIRD; certificates from the ACME server pebble; reports of loadtest in
#                Chromium; rules, alerts and boards with Prometheus; MariaDB with Galera, PostgreSQL, Redis and etcd
#                behind TCP services; services that three hosts agree on in etcd
#
#   --yes        do not ask before installing Rust, and let `machines` put a newer qemu-utils back to the
#                distribution's own version where that blocks QEMU
#   --seeds N    `sim` runs so many seeds; SIM_SEED=N in the environment runs the one and shows what happened
#
# Exit code: 0 all passed, 1 not, 2 unknown suite.
set -euo pipefail
# shellcheck source=deploy/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

ALL=(quick sim namespaces machines interop)

# Test programs that need namespaces, those that need other people's programs in them, and those that need
# libvirt; everything else is quick.
IN_NAMESPACES='binary(in_kernel) | binary(vip) | binary(cluster) | binary(access) | binary(claims) | binary(hypervisor_contract) | binary(neighbours) | binary(resign) | (package(guest) & binary(configure))'
WITH_OTHERS='binary(/^interop/) | binary(conformance) | binary(peers)'
ON_LIBVIRT='binary(/^(libvirt_contract|vms)$/) | test(/with_qemu/)'

report=()
step() {
    local name=$1
    shift
    say "$name"
    "$@" || { report+=("$name: FAILED"); return 1; }
    report+=("$name: ok")
}

tests() {
    local name=$1 filter=$2 log
    log=$(mktemp)
    say "$name: tests"
    local status=0
    cargo nextest run --workspace --locked --no-fail-fast -E "$filter" 2>&1 | tee "$log" || status=1
    report+=("$name: $(sed -n 's/.*\( [0-9]* tests\{0,1\} run: .*\)/\1/p' "$log" | tail -n 1)")
    rm -f "$log"
    return "$status"
}

scripts() { git ls-files '*.sh' .ci/run | xargs shellcheck --external-sources; }

# Advisories come from a repository that may be out of reach; licences, bans and sources need nothing.
dependencies() {
    cargo deny --locked check --hide-inclusion-graph licenses bans sources || return 1
    if timeout 60 cargo deny --locked fetch db >/dev/null 2>&1; then
        cargo deny --locked check --hide-inclusion-graph advisories
    else
        report+=("quick: advisories skipped: the advisory database cannot be reached")
    fi
}

quick() {
    local status=0
    need shellcheck:shellcheck git:git curl:curl openssl:openssl
    need_cargo_tool cargo-deny cargo-deny
    step "quick: format" cargo fmt --all --check || status=1
    step "quick: shell scripts" scripts || status=1
    step "quick: dependencies" dependencies || status=1
    step "quick: lints" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings || status=1
    tests quick "not ($IN_NAMESPACES | $WITH_OTHERS | $ON_LIBVIRT)" || status=1
    return "$status"
}

# Optimized: the same tests in a debug build run few seeds.
sim() {
    local log status=0
    log=$(mktemp)
    say "sim: $SEEDS seeds"
    SIM_SEEDS=$SEEDS cargo test --profile sim --locked --quiet -p manager --lib sim:: -- --include-ignored --nocapture 2>&1 | tee "$log" || status=1
    report+=("sim: $(sed -n 's/^\.*\(seeds [0-9].*\)/\1/p' "$log")" "sim: $(grep -h '^reached: ' "$log")")
    [ "$status" = 0 ] || report+=("sim: FAILED: SIM_SEED=N deploy/test.sh sim shows what happened")
    rm -f "$log"
    return "$status"
}

namespaces() {
    need_lab
    need tcpdump:tcpdump openssl:openssl nft:nftables
    need socat:socat ping:iputils-ping
    local status=0
    cargo build --workspace --bins --locked --quiet || return 1
    HOLDFAST_BIN=$(target_directory)/debug step "namespaces: the README's first run" deploy/first-run.sh || status=1
    HOLDFAST_BIN=$(target_directory)/debug step "namespaces: the commands of the documentation" deploy/walkthrough.sh || status=1
    tests namespaces "$IN_NAMESPACES" || status=1
    return "$status"
}

interop() {
    local status=0
    need_lab
    need keepalived:keepalived tcpdump:tcpdump curl:curl openssl:openssl nghttp:nghttp2-client nghttpd:nghttp2-server
    need_stopped nginx:nginx haproxy:haproxy prometheus:prometheus promtool:prometheus
    need_stopped bird:bird2
    need pebble:pebble chromium:chromium
    need_stopped mariadbd:mariadb-server pg_createcluster:postgresql redis-server:redis-server etcd:etcd-server
    need etcdctl:etcd-client rsync:rsync
    need_python grpcio==1.85.1 typing_extensions==4.16.0 h2==4.4.1 hpack==4.2.0 hyperframe==6.1.0 websockets==17.4 \
        brotli==1.2.1 zstandard==0.25.0 playwright==1.65.2 axe-playwright-python==0.1.8
    cargo build --workspace --bins --locked --quiet || return 1
    step "interop: packages" deploy/packages/test.sh || status=1
    tests interop "$WITH_OTHERS" || status=1
    return "$status"
}

machines() {
    local status=0
    need_lab
    need_vms
    need /usr/bin/python3:python3 openssl:openssl busybox:busybox
    cargo build --workspace --bins --locked --quiet || return 1
    # What is tested is not what they cost: without link-time optimization they are there in half the time.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 build_images || return 1
    step "machines: images" alpine-image/test.sh || status=1
    step "machines: bridge examples" network_examples || status=1
    HOLDFAST_MACHINES=vms HOLDFAST_BIN=$(target_directory)/debug \
        step "machines: the documentation's way to two hosts" deploy/walkthrough.sh docs/two-hosts.md || status=1
    tests machines "$ON_LIBVIRT" || status=1
    return "$status"
}

# Neither has to be on a machine that tests; where one is not, that is said.
network_examples() {
    local status=0 skipped
    skipped=$(deploy/network/check.sh) || status=1
    [ -z "$skipped" ] || report+=("machines: bridge examples: skipped: $skipped")
    return "$status"
}

YES=0 SEEDS=1000 suites=()
while [ $# -gt 0 ]; do
    argument=$1
    shift
    case $argument in
        -h | --help) help_of "$0" && exit 0 ;;
        --yes) YES=1 ;;
        --seeds)
            [[ ${1:-} =~ ^[0-9]+$ ]] || STATUS=2 die "--seeds needs a number"
            SEEDS=$1
            shift
            ;;
        *) suites+=("$argument") ;;
    esac
done
export YES
for suite in "${suites[@]}"; do
    [[ " ${ALL[*]} " == *" $suite "* ]] || STATUS=2 die "there is no suite '$suite'; there are: ${ALL[*]}"
done
need_build
need_cargo_tool cargo-nextest cargo-nextest
failed=()
for suite in "${suites[@]:-${ALL[@]}}"; do
    "$suite" || failed+=("$suite")
done
echo
printf '%s\n' "${report[@]}"
if [ ${#failed[@]} -gt 0 ]; then
    echo "FAILED: ${failed[*]}"
    exit 1
fi
echo "All passed."
