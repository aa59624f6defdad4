#!/bin/sh
# Builds the images that Holdfast's machines boot: a kernel, and an initramfs that is the whole root file
# system. One directory (a bundle) for each role: image.json, vmlinuz, initrd, packages.lock.
#
#   alpine-image/build.sh [OPTION…] [ROLE…]     without a role: lb stateless
#
#   --base alpine|debian-kernel   what it is made of [alpine]. debian-kernel is the stand-in for where no
#                                 Alpine mirror can be reached: Debian's cloud kernel, busybox and OpenRC,
#                                 downloaded with apt-get and unpacked, never installed
#   --mirror URL                  Alpine's mirror [https://dl-cdn.alpinelinux.org/alpine]
#   --release 3.22                Alpine's release, with or without a v [v3.22]
#   --keys DIR                    the keys the mirror's packages must be signed by, with a SHA256SUMS beside
#                                 them; for private mirrors [alpine-image/keys: Alpine's own]
#   --lock FILE                   the packages.lock of an earlier bundle: exactly these versions or nothing
#   --programs DIR                where the roles' static programs and holdfast-guest are; without it they
#                                 are built with cargo
#   --ssh-key FILE                puts in an ssh server that lets root in by this public key (Alpine only).
#                                 Without it nobody can log in to an image at all
#   --out DIR                     where the bundles go [target/images]
#
# The same inputs give the same bytes. A bundle is replaced only by a complete one. It needs curl, openssl
# and cpio, and cargo without --programs; --base debian-kernel needs apt-get and dpkg-deb in place of
# openssl. Root is not needed.
#
# Exit code: 0 built, 1 not, 2 wrong usage.
set -eu
umask 022
# Messages of tools are compared and sorted here: always the same language and order.
export LC_ALL=C

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")
target=${CARGO_TARGET_DIR:-$root/target}

ARCH=x86_64
# Every file's time: part of "the same inputs give the same bytes".
EPOCH=0
# A hung download should fail the build, a slow one should not.
STALLED_SECONDS=30

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }
usage() { printf 'build.sh: %s (--help shows how)\n' "$*" >&2; exit 2; }

# shellcheck source=alpine-image/verify.sh
. "$here/verify.sh"

# --- what is asked for ---------------------------------------------------------------------------------

base=alpine mirror=https://dl-cdn.alpinelinux.org/alpine release=v3.22 keys=$here/keys
lock='' programs='' ssh_key='' out=$target/images roles=''

while [ $# -gt 0 ]; do
    case $1 in
        -h | --help)
            sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p;}' "$0"
            exit 0
            ;;
        --base | --mirror | --release | --keys | --lock | --programs | --ssh-key | --out)
            [ -n "${2:-}" ] || usage "$1 needs a value"
            case $1 in
                --base) base=$2 ;;
                --mirror) mirror=${2%/} ;;
                --release) release=v${2#v} ;;
                --keys) keys=$2 ;;
                --lock) lock=$2 ;;
                --programs) programs=$2 ;;
                --ssh-key) ssh_key=$2 ;;
                --out) out=$2 ;;
            esac
            shift
            ;;
        -*) usage "there is no option $1" ;;
        # A role is a file's name and the name of a program.
        *[!a-z0-9-]*) usage "'$1' cannot be a role: small letters, digits and dashes" ;;
        *) roles="$roles $1" ;;
    esac
    shift
done
roles=${roles:-lb stateless}
case $base in
    alpine | debian-kernel) ;;
    *) usage "there is no base '$base'; there are: alpine, debian-kernel" ;;
esac
printf '%s\n' "$release" | grep -Eq '^v[0-9]+\.[0-9]+$' || usage "'${release#v}' is no release like 3.22"
case $mirror in
    http://?* | https://?*) ;;
    *) usage "the mirror '$mirror' is no http or https address" ;;
esac
[ -z "$lock" ] || [ -r "$lock" ] || usage "the lock file $lock cannot be read"
[ -z "$programs" ] || [ -d "$programs" ] || usage "there is no directory $programs"
if [ -n "$ssh_key" ]; then
    [ "$base" = alpine ] || usage "the stand-in has no ssh server: --ssh-key is for --base alpine"
    # Whoever passes a private key by mistake must hear of it.
    ! grep -q 'PRIVATE KEY' "$ssh_key" || usage "$ssh_key is a private key: pass the file that ends in .pub"
    grep -Eq '^(ssh-|ecdsa-|sk-)[^ ]+ [A-Za-z0-9+/=]+' "$ssh_key" 2>/dev/null \
        || usage "$ssh_key is no ssh public key (the file that ends in .pub)"
fi

needed() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null 2>&1 || missing="${missing:-} $tool"
    done
    [ -z "${missing:-}" ] || die "please install what has:$missing"
}
needed cpio gzip tar sha256sum od awk
case $base in
    alpine) needed curl openssl ;;
    debian-kernel) needed apt-get dpkg-deb ;;
esac

# --- a place to work, beside where the result goes -------------------------------------------------------

mkdir -p "$out"
out=$(CDPATH='' cd -- "$out" && pwd)
work=$(mktemp -d "$out/.build.XXXXXX")
# Whatever ends this leaves either the old bundle or the new one.
finish() {
    for role in $roles; do
        if [ -d "$work/old/$role" ] && [ ! -e "$out/$role" ]; then mv "$work/old/$role" "$out/$role"; fi
    done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# A list of names, one per line, without its comments.
names_in() { sed 's/#.*//; s/[[:space:]]//g; /^$/d' "$1"; }

# locked NAME: the version the lock file has of a package; nothing without a lock file.
locked() {
    [ -n "$lock" ] || return 0
    version=$(names_in "$lock" | sed -n "s/^$(printf '%s' "$1" | sed 's/[.+]/\\&/g')=//p")
    [ -n "$version" ] || die "$lock has no line for $1: it is of other packages; build without it to get a new one"
    printf '%s\n' "$version"
}

# --- programs ----------------------------------------------------------------------------------------------

if [ -z "$programs" ]; then
    needed cargo
    say "Building the programs"
    triple=x86_64-unknown-linux-gnu
    # Always together: which crates are built at once decides the features, and so the bytes, of each.
    packages='-p lb -p stateless -p guest'
    for role in $roles; do
        case $role in lb | stateless) ;; *) packages="$packages -p $role" ;; esac
    done
    # With --target the flag is for the programs only, not for what runs while they are built.
    # shellcheck disable=SC2086  # a list of options
    (cd "$root" && RUSTFLAGS="-C target-feature=+crt-static" CARGO_TARGET_DIR="$target" \
        cargo build --quiet --release --locked --target "$triple" $packages) \
        || die "the programs could not be built"
    programs=$target/$triple/release
fi
for program in $roles holdfast-guest; do
    [ -f "$programs/$program" ] || die "$programs has no program $program"
    [ -x "$programs/$program" ] || die "$programs/$program is not executable"
    # The image has no libraries for it.
    if ldd "$programs/$program" 2>/dev/null | grep -q '=>'; then
        die "$programs/$program needs shared libraries: build it with RUSTFLAGS='-C target-feature=+crt-static'"
    fi
done

# --- Alpine ------------------------------------------------------------------------------------------------

repository=$mirror/$release/main

download() {
    curl --fail --silent --show-error --location --retry 2 --connect-timeout 10 --speed-limit 1 \
        --speed-time "$STALLED_SECONDS" --proto '=https,http' --output "$2" -- "$1" \
        || die "$1 could not be downloaded${3:+: $3}"
}

# alpine_package NAME DATA: downloads a package and verifies it; its files, as a tar.gz, to DATA.
alpine_package() {
    wanted=$(locked "$1")
    found=$(index_of "$work/APKINDEX" "$1" "$wanted")
    [ -n "$found" ] || die "$repository has no $1${wanted:+ $wanted: mirrors keep only the newest; build without --lock}"
    version=${found% *}
    download "$repository/$ARCH/$1-$version.apk" "$work/$1.apk"
    verify_package "$work/$1.apk" "$work/keys" "$1" "$version" "${found#* }" "$2"
    echo "$1=$version" >> "$work/lock"
}

# alpine SYSTEM KERNEL: Alpine's packages, unpacked to SYSTEM; the kernel's files to KERNEL.
alpine() {
    check_keys "$keys" "$work/keys"
    say "Fetching Alpine $release from $mirror"
    download "$repository/$ARCH/APKINDEX.tar.gz" "$work/APKINDEX.tar.gz" "is the release right, and can the mirror be reached?"
    verify_index "$work/APKINDEX.tar.gz" "$work/keys" "$work/APKINDEX"

    # The kernel is not left to apk, which would bring mkinitfs and what that needs along with it.
    alpine_package linux-virt "$work/linux.tar.gz"
    mkdir -p "$2"
    tar -xzf "$work/linux.tar.gz" --no-same-owner -C "$2" 2>"$work/log" || die "linux-virt: $(cat "$work/log")"
    vmlinuz=$2/boot/vmlinuz-virt

    alpine_package apk-tools-static "$work/apk.tar.gz"
    apk=$(tar -tzf "$work/apk.tar.gz" 2>/dev/null | grep -E '^(usr/)?sbin/apk\.static$') \
        || die "apk-tools-static holds no apk.static"
    tar -xzOf "$work/apk.tar.gz" -- "$apk" > "$work/apk.static" 2>/dev/null
    chmod 755 "$work/apk.static"

    wanted_packages=$(names_in "$here/packages")
    [ -z "$ssh_key" ] || wanted_packages="$wanted_packages dropbear"
    if [ -n "$lock" ]; then
        for package in $wanted_packages; do locked "$package" >/dev/null; done
        wanted_packages=$(names_in "$lock" | grep -Ev '^(linux-virt|apk-tools-static)=')
    fi
    # Owners are set when the archive is written: an ordinary user can build.
    [ "$(id -u)" = 0 ] && no_chown='' || no_chown=--no-chown
    mkdir -p "$1"
    # Scripts of packages would run on this machine, as its user. What they do here is done below.
    # shellcheck disable=SC2086  # lists of names
    "$work/apk.static" --root "$1" --arch "$ARCH" --keys-dir "$work/keys" --repository "$repository" --no-cache \
        --no-progress --no-scripts --initdb $no_chown add $wanted_packages >"$work/log" 2>&1 \
        || die "apk could not install the packages: $(cat "$work/log")"
    installed=$(find "$1" -path '*/apk/db/installed' -type f)
    [ -f "$installed" ] || die "apk left no list of what it installed"
    awk '/^P:/ { p = substr($0, 3) } /^V:/ { print p "=" substr($0, 3) }' "$installed" >> "$work/lock"
    distribution="Alpine $(cat "$1/etc/alpine-release")" || die "there is no /etc/alpine-release in $1"
    rm -rf "${installed%/db/installed}" "$1/etc/apk"
    # What busybox's own post-install script would have made.
    applets=$1/etc/busybox-paths.d/busybox
    [ -s "$applets" ] || die "the busybox package does not say where its names are (etc/busybox-paths.d/busybox)"
    cp "$applets" "$work/applets"
}

# --- Debian ------------------------------------------------------------------------------------------------

# debian_package NAME: downloads a package, if it is not here, and adds it to the lock. Its file: $deb.
# apt's lists say what it must be, so that what is here already needs no network.
debian_package() {
    wanted=$(locked "$1")
    # Asked in an empty directory: where the file already is apt-get prints nothing.
    mkdir -p "$work/empty"
    uri=$(cd "$work/empty" && apt-get download --print-uris "$1${wanted:+=$wanted}" 2>"$work/log") || uri=
    [ -n "$uri" ] \
        || die "apt-get knows no package $1${wanted:+ $wanted}: $(cat "$work/log") (apt-get update may help)"
    # 'URI' FILE SIZE ALGORITHM:SUM
    sum=${uri##* }
    deb=$cache/$(printf '%s\n' "$uri" | awk '{ print $(NF - 2) }')
    # apt-get names the file and dpkg the sum's program in capitals.
    summer=$(printf '%ssum' "${sum%%:*}" | tr '[:upper:]' '[:lower:]')
    if ! echo "${sum#*:}  $deb" | "$summer" --check --status 2>/dev/null; then
        (cd "$cache" && apt-get download -q -o APT::Sandbox::User="$(id -un)" "$1${wanted:+=$wanted}" >"$work/log" 2>&1) \
            || die "$1 could not be downloaded: $(cat "$work/log")"
        echo "${sum#*:}  $deb" | "$summer" --check --status || die "$deb is not what apt's lists say it is"
    fi
    echo "$1=$(dpkg-deb --field "$deb" Version)" >> "$work/lock"
}

version_in_lock() { sed -n "s/^$1=//p" "$work/lock"; }

# debian SYSTEM KERNEL: Debian's packages, unpacked, in Alpine's places.
debian() {
    cache=$target/alpine-image/debian
    mkdir -p "$cache" "$1" "$2"
    say "Fetching the stand-in's Debian packages"
    if [ -n "$lock" ]; then
        kernel_package=$(names_in "$lock" | sed -n 's/^\(linux-image-[0-9][^=]*\)=.*/\1/p')
    else
        debian_package linux-image-cloud-amd64
        kernel_package=$(dpkg-deb --field "$deb" Depends | grep -o 'linux-image-[0-9][^ ,]*' | head -n 1)
        : > "$work/lock"
    fi
    [ -n "$kernel_package" ] || die "no kernel package is named by ${lock:-linux-image-cloud-amd64}"
    debian_package "$kernel_package"
    dpkg-deb --extract "$deb" "$2"
    vmlinuz=$2/boot/vmlinuz-${kernel_package#linux-image-}
    for package in $(names_in "$here/packages.stand-in"); do
        debian_package "$package"
        dpkg-deb --extract "$deb" "$work/debian"
    done

    mkdir -p "$1/bin" "$1/sbin" "$1/etc" "$1/lib/x86_64-linux-gnu" "$1/lib64"
    cp -P "$work/debian/bin/busybox" "$1/bin/"
    cp -P "$work/debian/bin/rc-status" "$1/bin/"
    for file in openrc openrc-run openrc-shutdown supervise-daemon rc-service rc-sstat rc-update; do
        cp -P "$work/debian/sbin/$file" "$1/sbin/"
    done
    cp -R -P "$work/debian/lib/rc" "$1/lib/"
    # The libraries OpenRC is linked with, and the loader: not all of the C library's package.
    for library in audit cap-ng einfo pam pam_misc pcre2-8 rc selinux c; do
        for file in "$work/debian/lib/x86_64-linux-gnu/lib$library.so".* \
            "$work/debian/usr/lib/x86_64-linux-gnu/lib$library.so".*; do
            if [ -e "$file" ]; then cp -P "$file" "$1/lib/x86_64-linux-gnu/"; fi
        done
    done
    cp -L "$work/debian/lib64/ld-linux-x86-64.so.2" "$1/lib64/"
    # This shell runs its own md5sum without an exec, and so cannot see the variable that OpenRC passes to it
    # as a test of /proc.
    # shellcheck disable=SC2016  # that script's variable
    sed -i 's/if $got_md5sum && /if false \&\& /' "$1/lib/rc/sh/init.sh"
    # Debian's OpenRC wants these to be there.
    mkdir -p "$1/etc/insserv.conf.d" "$1/etc/insserv/overrides"
    : > "$1/etc/insserv.conf"

    "$1/bin/busybox" --list-full > "$work/applets"
    distribution="Debian kernel ${kernel_package#linux-image-} ($(version_in_lock "$kernel_package")), busybox $(
        version_in_lock busybox-static), OpenRC $(version_in_lock openrc) (stand-in)"
}

# --- what both have in common --------------------------------------------------------------------------------

plain_name() { printf '%s\n' "$1" | tr - _; }

# modules KERNEL SYSTEM: the modules of our list and what they depend on, unpacked, and the modules.dep that
# modprobe reads. Made from what the modules say of themselves: neither base brings a modules.dep for so few.
modules() {
    set -- "$1/lib/modules" "$2/lib/modules"
    kernel_version=$(ls "$1")
    [ -d "$1/$kernel_version/kernel" ] || die "the kernel package holds no modules"
    mkdir -p "$2/$kernel_version"
    (cd "$1/$kernel_version" && find kernel -type f -name '*.ko*') | awk '{
        name = $1; sub(/.*\//, "", name); sub(/\.ko.*/, "", name); gsub(/-/, "_", name); print name, $1 }' \
        > "$work/modules.all"
    sed 's/.*\///; s/\.ko$//; s/-/_/g' "$1/$kernel_version/modules.builtin" > "$work/modules.builtin"
    : > "$work/modules.table"
    : > "$2/../../etc/modules"
    todo=
    for module in $(names_in "$here/modules"); do
        module=$(plain_name "$module")
        todo="$todo $module"
        grep -qx "$module" "$work/modules.builtin" || echo "$module" >> "$2/../../etc/modules"
    done
    while [ -n "$todo" ]; do
        next=
        for module in $todo; do
            ! grep -q "^$module " "$work/modules.table" || continue
            path=$(sed -n "s/^$module //p" "$work/modules.all" | head -n 1)
            if [ -z "$path" ]; then
                grep -qx "$module" "$work/modules.builtin" || die "the kernel $kernel_version has no module $module"
                continue
            fi
            ko=${path%.ko*}.ko
            mkdir -p "$2/$kernel_version/${ko%/*}"
            case $path in
                *.ko) cp "$1/$kernel_version/$path" "$2/$kernel_version/$ko" ;;
                *.gz) gzip -dc "$1/$kernel_version/$path" > "$2/$kernel_version/$ko" ;;
                *.xz) xz -dc "$1/$kernel_version/$path" > "$2/$kernel_version/$ko" ;;
                *.zst) zstd -qdc "$1/$kernel_version/$path" > "$2/$kernel_version/$ko" ;;
                *) die "the kernel's module $path is packed in a way that is not known here" ;;
            esac
            depends=$(tr '\0' '\n' < "$2/$kernel_version/$ko" | sed -n 's/^depends=//p' | tr ',-' ' _')
            echo "$module $ko $depends" >> "$work/modules.table"
            next="$next $depends"
        done
        todo=$(echo "$next" | xargs)
    done
    # As depmod writes it: all that a module needs, what is loaded first comes last.
    awk '
        function visit(name,    i, n, parts) {
            if (name in seen || !(name in path)) return
            seen[name] = 1
            n = split(needs[name], parts, " ")
            for (i = 1; i <= n; i++) visit(parts[i])
            order[++count] = name
        }
        { path[$1] = $2; name = $1; names[NR] = name; $1 = $2 = ""; needs[name] = $0 }
        END {
            for (i = 1; i <= NR; i++) {
                split("", seen); count = 0
                visit(names[i])
                line = path[names[i]] ":"
                for (j = count - 1; j > 0; j--) line = line " " path[order[j]]
                print line
            }
        }' "$work/modules.table" > "$2/$kernel_version/modules.dep"
}

# system SYSTEM: what makes a Holdfast machine of either base.
system() {
    # Only our own services: each one that is there costs time at every boot.
    for directory in etc/init.d etc/conf.d etc/runlevels etc/crontabs etc/periodic etc/modules-load.d \
        etc/modprobe.d boot media mnt srv usr/share var; do
        rm -rf "${1:?}/$directory"
    done
    while read -r applet; do
        applet=$1/${applet#/}
        [ -e "$applet" ] || [ -L "$applet" ] || {
            mkdir -p "${applet%/*}"
            ln -s /bin/busybox "$applet"
        }
    done < "$work/applets"
    for directory in dev proc sys run root tmp home etc/init.d etc/conf.d etc/runlevels var/log var/empty var/lib usr/bin usr/sbin; do
        mkdir -p "$1/$directory"
    done
    # supervise-daemon does not start without it.
    ln -s ../run "$1/var/run"
    for runlevel in sysinit boot default shutdown; do mkdir "$1/etc/runlevels/$runlevel"; done
    cp -R "$here/overlay/." "$1/"
    ln -s /etc/init.d/holdfast-configure "$1/etc/runlevels/boot/"
    ln -s /etc/init.d/holdfast /etc/init.d/holdfast-channel "$1/etc/runlevels/default/"
    if [ -n "$ssh_key" ]; then
        cp -R "$here/overlay-ssh/." "$1/"
        ln -s /etc/init.d/holdfast-ssh "$1/etc/runlevels/default/"
        mkdir -p "$1/root/.ssh" "$1/etc/dropbear"
        cp -- "$ssh_key" "$1/root/.ssh/authorized_keys"
    fi
    cp "$programs/holdfast-guest" "$1/usr/sbin/holdfast-guest"
    for needed_file in sbin/init sbin/openrc sbin/modprobe bin/sh bin/mount sbin/poweroff; do
        [ -e "$1/$needed_file" ] || [ -L "$1/$needed_file" ] || die "the packages bring no /$needed_file"
    done
}

# pack SYSTEM FILE: the root file system as one archive, the same for the same files.
pack() {
    # Whatever this user's checkout and umask are.
    find "$1" -type d -exec chmod 755 {} +
    find "$1" -type f -exec chmod u=rwX,go=rX,ug-s {} +
    chmod 600 "$1/etc/shadow"
    chmod 700 "$1/root"
    chmod 1777 "$1/tmp"
    if [ -d "$1/root/.ssh" ]; then chmod -R go= "$1/root/.ssh"; fi
    find "$1" -exec touch --no-dereference --date="@$EPOCH" {} +
    (cd "$1" && find . -mindepth 1 | sort \
        | cpio --quiet --create --format=newc --owner=0:0 --reproducible) > "$2" \
        || die "the archive could not be written"
    # While it is unpacked both copies are in memory: compressed, a machine needs some 20 MiB less. Only an
    # emulated machine, which would spend a tenth of its boot on unpacking gzip, gets it as it is.
    if [ "$stand_in" = false ]; then
        gzip -n -9 "$2"
        mv "$2.gz" "$2"
    fi
}

# --- the bundles ----------------------------------------------------------------------------------------------

: > "$work/lock"
case $base in
    alpine)
        alpine "$work/system" "$work/kernel"
        stand_in=false
        ;;
    debian-kernel)
        debian "$work/system" "$work/kernel"
        stand_in=true
        ;;
esac
# A kernel that is in trouble ends at once: a dead machine is replaced in seconds, a half-dead one is not.
command_line="console=ttyS0 quiet loglevel=3 panic=-1 oops=panic rdinit=/sbin/init rootfstype=ramfs"
# As a tmpfs the root would be held to half of the memory left, which small machines do not have to spare.
# Emulated machines have no neighbours to hide from. On real hosts the usual mitigations stay: the machine
# serves strangers.
[ "$stand_in" = false ] || command_line="$command_line no_timer_check mitigations=off"
sort -o "$work/lock" "$work/lock"
if [ -n "$lock" ]; then
    names_in "$lock" | sort > "$work/lock.wanted"
    difference=$(diff "$work/lock.wanted" "$work/lock" | grep '^[<>]' | xargs)
    [ -z "$difference" ] \
        || die "what would be installed is not what $lock says (< wanted, > found): $difference"
fi
[ -f "$vmlinuz" ] || die "the kernel package holds no ${vmlinuz##*/}"
system "$work/system"
modules "$work/kernel" "$work/system"

for role in $roles; do
    bundle=$work/new/$role
    mkdir -p "$bundle"
    cp "$programs/$role" "$work/system/usr/bin/$role"
    pack "$work/system" "$bundle/initrd"
    rm "$work/system/usr/bin/$role"
    cp "$vmlinuz" "$bundle/vmlinuz"
    cp "$work/lock" "$bundle/packages.lock"
    kernel_sum=$(sha256_of "$bundle/vmlinuz")
    initrd_sum=$(sha256_of "$bundle/initrd")
    id=$(printf '%s%s' "$kernel_sum" "$initrd_sum" | sha256sum | cut -c 1-16)
    cat > "$bundle/image.json" <<JSON
{
  "format": 1,
  "role": "$role",
  "distribution": "$distribution",
  "stand_in": $stand_in,
  "id": "$id",
  "kernel": {"file": "vmlinuz", "sha256": "$kernel_sum"},
  "initrd": {"file": "initrd", "sha256": "$initrd_sum"},
  "command_line": "$command_line"
}
JSON
    chmod 644 "$bundle"/*
done

# All of them are complete: now they take the old ones' places.
mkdir "$work/old"
for role in $roles; do
    if [ -e "$out/$role" ]; then mv "$out/$role" "$work/old/$role"; fi
    mv "$work/new/$role" "$out/$role"
    say "$out/$role: $(sed -n 's/.*"distribution": "\(.*\)",/\1/p' "$out/$role/image.json"), $(
        du -k "$out/$role/vmlinuz" "$out/$role/initrd" | awk '{ sum += $1 } END { printf "%.1f MiB", sum / 1024 }')"
done
