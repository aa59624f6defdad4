# shellcheck shell=bash
# What the entry scripts share: saying what they do, and installing what is missing and nothing else.

ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then BOLD=$'\033[1m' PLAIN=$'\033[0m'; else BOLD='' PLAIN=''; fi
say() { printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; exit "${STATUS:-1}"; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# need COMMAND:PACKAGE… or /FILE:PACKAGE… installs the Debian packages of what is not there.
need() {
    local pair missing=()
    for pair in "$@"; do
        case $pair in
            /*) [ -e "${pair%%:*}" ] || missing+=("${pair#*:}") ;;
            *) command -v "${pair%%:*}" >/dev/null 2>&1 || missing+=("${pair#*:}") ;;
        esac
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "please install: ${missing[*]} (only Debian and Ubuntu are done by themselves)"
    say "Installing Debian packages: ${missing[*]}"
    as_root apt-get update -qq
    # Nothing that is there may be removed or changed.
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --no-remove \
        "${missing[@]}" >/dev/null
}

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

# need_cargo_tool COMMAND CRATE builds a cargo subcommand that is not there.
need_cargo_tool() {
    command -v "$1" >/dev/null 2>&1 && return 0
    say "Building $2 (once; a few minutes)"
    cargo install --quiet --locked "$2"
}

# What compiling needs, and what a lab of namespaces needs.
need_build() {
    need cc:gcc /usr/include/stdio.h:libc6-dev make:make cmake:cmake \
        /etc/ssl/certs/ca-certificates.crt:ca-certificates
    need_rust
}

need_lab() {
    need ip:iproute2 unshare:util-linux nsenter:util-linux curl:curl
    local user=()
    [ "$(id -u)" = 0 ] || user=(--user --map-root-user)
    unshare "${user[@]}" --net --mount --pid --fork true 2>/dev/null \
        || die "this kernel lets this user make no network namespaces: run it with sudo"
}

# The comment at the head of a script is its help.
help_of() { sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p}' "$1"; }

target_directory() {
    cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/'
}
