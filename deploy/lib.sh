# shellcheck shell=bash
# What the entry scripts share: saying what they do, and installing what is missing and nothing else.

ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then BOLD=$'\033[1m' PLAIN=$'\033[0m'; else BOLD='' PLAIN=''; fi
say() { printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; exit "${STATUS:-1}"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# missing_of COMMAND:PACKAGE… or /FILE:PACKAGE… prints the packages of what is not there.
missing_of() {
    local pair
    for pair in "$@"; do
        case $pair in
            /*) [ -e "${pair%%:*}" ] || echo "${pair#*:}" ;;
            *) command -v "${pair%%:*}" >/dev/null 2>&1 || echo "${pair#*:}" ;;
        esac
    done | sort -u
}

# need, with the same arguments, installs those Debian packages.
need() {
    local missing
    missing=$(missing_of "$@")
    [ -n "$missing" ] || return 0
    refresh_packages "$missing"
    # shellcheck disable=SC2086 # a list of packages
    install_packages $missing
}

# need_stopped is `need` for packages that would start a service: only their programs are wanted.
need_stopped() {
    local policy=/usr/sbin/policy-rc.d status=0
    [ -n "$(missing_of "$@")" ] || return 0
    if [ -e "$policy" ]; then
        need "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    (need "$@") || status=$?
    as_root rm -f "$policy"
    return "$status"
}

refresh_packages() {
    command -v apt-get >/dev/null \
        || die "please install: ${1//$'\n'/ } (only Debian and Ubuntu are done by themselves)"
    as_root apt-get update -qq
}

# Nothing that is there may be removed; it is changed only where the arguments say so.
APT_INSTALL=(env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --no-remove)

install_packages() {
    say "Installing Debian packages: $*"
    as_root "${APT_INSTALL[@]}" -o DPkg::Lock::Timeout=300 "$@" >/dev/null
}

# can_install says whether install_packages would succeed, and why not.
can_install() { { "${APT_INSTALL[@]}" --simulate "$@" >/dev/null; } 2>&1; }

# need_rust takes a Rust that is new enough as it is; else it offers rustup's.
need_rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    # shellcheck source=/dev/null
    [ -r "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"
    have=$(rustc --version 2>/dev/null | sed -n 's/^rustc \([0-9.]*\).*/\1/p')
    if [ -n "$have" ] && [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ]; then
        return 0
    fi
    say "Rust $wanted or newer is needed${have:+, here is $have}. rustup (https://rustup.rs) installs it for this user."
    if [ -t 0 ] && [ "${YES:-}" != 1 ]; then
        local answer
        read -r -p "Install it now? [Y/n] " answer
        case $answer in [nN]*) die "no Rust $wanted, nothing built" ;; esac
    fi
    need curl:curl /etc/ssl/certs/ca-certificates.crt:ca-certificates
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal \
        --component clippy --component rustfmt --default-toolchain stable
    # shellcheck source=/dev/null
    . "$HOME/.cargo/env"
}

# Where demos keep their labs, each in a directory that begins so.
demo_labs() { echo "${TMPDIR:-/tmp}/holdfast-demo-$(id -u)"; }

lab_runs() { [ -r "$1/outer.pid" ] && kill -0 "$(cat "$1/outer.pid")" 2>/dev/null; }

# The newest lab that `deploy/demo.sh --keep` left running.
kept_lab() {
    local lab newest=''
    for lab in "$(demo_labs)".*; do
        if [ -e "$lab/kept" ] && lab_runs "$lab" && { [ -z "$newest" ] || [ "$lab" -nt "$newest" ]; }; then newest=$lab; fi
    done
    [ -n "$newest" ] || die "no demo runs: start one with deploy/demo.sh --keep"
    echo "$newest"
}

# relay FILE PORT LAB ADDRESS:PORT leads from 127.0.0.1:PORT of this machine to what listens in the network of a lab.
# It becomes the process of who calls it; FILE is written for it.
relay() {
    # socat takes a command apart at spaces and colons; this one has none.
    printf '#!/bin/sh\nexec "%s/deploy/lab.sh" exec "%s" client socat STDIO TCP:%s\n' "$ROOT" "$3" "$4" >"$1"
    chmod +x "$1"
    exec socat "TCP-LISTEN:$2,bind=127.0.0.1,reuseaddr,fork" "EXEC:$1"
}

# is_port TEXT
is_port() { [[ $1 =~ ^[1-9][0-9]{0,4}$ ]] && [ "$1" -le 65535 ]; }

# Ends everything that a process started, itself last.
end_tree() {
    local child children=''
    read -r children <"/proc/$1/task/$1/children" || true
    # shellcheck disable=SC2086 # a list of numbers
    for child in $children; do end_tree "$child"; done
    kill -TERM "$1" 2>/dev/null || true
}

# need_cargo_tool COMMAND CRATE builds a cargo subcommand that is not there.
need_cargo_tool() {
    command -v "$1" >/dev/null 2>&1 && return 0
    say "Building $2 (once; a few minutes)"
    cargo install --quiet --locked "$2"
}

# What compiling needs (the manager is linked with libvirt), and what a lab of namespaces needs.
need_build() {
    need cc:gcc /usr/include/stdio.h:libc6-dev make:make cmake:cmake pkg-config:pkg-config \
        /usr/include/libvirt/libvirt.h:libvirt-dev /etc/ssl/certs/ca-certificates.crt:ca-certificates
    need_rust
}

# The programs, optimized: HOLDFAST_BIN is their directory afterwards, and was it where they need not be built.
need_programs() {
    if [ -z "${HOLDFAST_BIN:-}" ]; then
        need_build
        say "Building, optimized"
        (cd "$ROOT" && cargo build --release --bins --locked --quiet)
        HOLDFAST_BIN=$(cd "$ROOT" && target_directory)/release
    fi
    HOLDFAST_BIN=$(readlink -f "$HOLDFAST_BIN")
    export HOLDFAST_BIN
}

need_lab() {
    need ip:iproute2 unshare:util-linux nsenter:util-linux curl:curl
    local user=()
    [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
    unshare "${user[@]}" --net --mount --pid --fork true 2>/dev/null \
        || die "this kernel lets this user make no network namespaces: run it with sudo"
}

# What a lab of virtual machines needs: QEMU, the libvirt daemon and its clients, and what
# alpine-image/build.sh makes an image of. Only the programs are wanted, no service of this machine:
# every host of a lab runs its own.
need_vms() {
    local missing
    [ "$(uname -m)" = x86_64 ] || die "the virtual machines are x86-64 ones; this machine is $(uname -m)"
    [ "$(id -u)" = 0 ] || die "virtual machines need root: sudo env \"PATH=\$PATH\" $0"
    missing=$(missing_of /usr/bin/qemu-system-x86_64:qemu-system-x86 /usr/bin/qemu-img:qemu-utils \
        /usr/sbin/libvirtd:libvirt-daemon /usr/sbin/virtlogd:"$(package_of_virtlogd)" \
        /usr/bin/virsh:libvirt-clients curl:curl openssl:openssl cpio:cpio)
    # libvirt's daemon does not start without the user that its QEMU is to be, even where it is told another one. In some
    # releases the daemon's own package makes that user, in others this one.
    getent passwd libvirt-qemu >/dev/null || missing="$missing libvirt-daemon-system"
    [ -n "$missing" ] || return 0
    refresh_packages "$missing"
    # shellcheck disable=SC2046,SC2086 # lists of packages
    can_install $missing >/dev/null || missing="$missing $(older_qemu_utils $missing)"
    case $missing in *qemu-utils=*) allow_downgrade "${missing##*qemu-utils=}" ;; esac
    # shellcheck disable=SC2086 # a list of packages
    install_packages $missing
}

# The one change that is ever made to what is there; a person is asked first.
allow_downgrade() {
    local have
    have=$(dpkg-query --show --showformat '${Version}' qemu-utils)
    say "qemu-utils $have blocks this distribution's QEMU; it must go back to the distribution's own $1"
    if [ -t 0 ] && [ "${YES:-}" != 1 ]; then
        die "qemu-utils is left as it is and nothing was installed; say --yes to allow the downgrade"
    fi
    APT_INSTALL+=(--allow-downgrades)
}

# Newer distributions have virtlogd in a package of its own.
package_of_virtlogd() {
    if [ -n "$(apt-cache search --names-only '^libvirt-daemon-log$' 2>/dev/null)" ]; then
        echo libvirt-daemon-log
    else
        echo libvirt-daemon
    fi
}

# older_qemu_utils PACKAGE… is asked when these cannot be installed. The one cause that is helped with: a
# newer qemu-utils (a backport) breaks the distribution's QEMU. Then it prints the qemu-utils that fits.
older_qemu_utils() {
    local reason version have
    reason=$(can_install "$@") && return 0
    version=$(apt-cache policy qemu-system-x86 | sed -n 's/^ *Candidate: //p')
    have=$(dpkg-query --show --showformat '${Version}' qemu-utils 2>/dev/null) || have=
    if [ -n "$have" ] && dpkg --compare-versions "$have" gt "$version" \
        && can_install --allow-downgrades "$@" "qemu-utils=$version" >/dev/null; then
        echo "qemu-utils=$version"
        return 0
    fi
    die "apt-get cannot install $*: $reason"
}

# The comment at the head of a script is its help.
help_of() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$1"; }

# build_images makes the images of the virtual machines and says where they are in HOLDFAST_IMAGES. What
# they are made of is HOLDFAST_IMAGE_BASE; the stand-in needs nothing but Debian's mirror.
build_images() {
    local target
    target=$(target_directory)
    export HOLDFAST_IMAGES=$target/images
    say "Building the images"
    CARGO_TARGET_DIR=$target "$ROOT/alpine-image/build.sh" --base "${HOLDFAST_IMAGE_BASE:-debian-kernel}" \
        --out "$HOLDFAST_IMAGES"
}

# need_python PACKAGE==VERSION… makes a Python of its own in target/python with these packages in it.
need_python() {
    local python
    need /usr/bin/python3:python3
    if ! /usr/bin/python3 -c 'import ensurepip' 2>/dev/null; then
        refresh_packages python3-venv
        install_packages python3-venv
    fi
    python=$(target_directory)/python
    if [ "$(cat "$python/packages" 2>/dev/null)" = "$*" ]; then
        return 0
    fi
    say "Installing Python packages: $*"
    /usr/bin/python3 -m venv --clear "$python"
    "$python/bin/pip" install --quiet --disable-pip-version-check "$@"
    printf '%s' "$*" >"$python/packages"
}

target_directory() {
    cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}
