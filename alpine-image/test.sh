#!/bin/sh
# Tests what can be tested of the image build without a mirror of Alpine's: arguments, the keys, what a
# mirror must not get away with, and that a build is repeatable and leaves no half image behind.
#
#   alpine-image/test.sh
#
# A mirror of our own making on 127.0.0.1 serves packages signed with a key of our own. In it
# apk-tools-static is a small shell script in apk's place, which is signed and verified like the real one.
#
# Needs the Debian packages: openssl curl cpio busybox-static gzip tar
#
# Exit code: 0 all passed, 1 not.
set -eu
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
case ${1:-} in -h | --help) sed -n '2,/^set -e/{/^set -e/d;s/^# \{0,1\}//;p;}' "$0" && exit 0 ;; esac

W=$(mktemp -d)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$W"
}
trap finish EXIT
trap 'exit 130' INT TERM

passed=0 failed=0
pass() { passed=$((passed + 1)); echo "ok      $1"; }
fail() { failed=$((failed + 1)); echo "FAILED  $1"; sed 's/^/        /' "$W/log"; }

# --- the mirror ------------------------------------------------------------------------------------------

REPO=$W/mirror/v3.22/main/x86_64
KEY=test@holdfast-1.rsa.pub

new_key() { openssl genrsa -out "$W/$1" 2048 2>/dev/null && openssl rsa -in "$W/$1" -pubout -out "$2" 2>/dev/null; }

# cut_tar DIRECTORY NAME…: as abuild makes it, a gzip member of a tar without its end (two blocks of nothing
# and what pads it to a record), so that the tars of several members read as one.
cut_tar() (
    cd "$1"
    shift
    tar --format=ustar --owner=0 --group=0 --numeric-owner --mtime=@0 -b 1 -cf "$W/cut" -- "$@"
    head -c $(($(wc -c < "$W/cut") - 1024)) "$W/cut" | gzip -n -9
)

# signed MEMBER KEY NAME DIGEST PREFIX: the signature member for MEMBER to standard output.
signed() {
    rm -rf "$W/sign"
    mkdir "$W/sign"
    openssl dgst "-$4" -sign "$W/$2" -out "$W/sign/.SIGN.$5.$3" "$1"
    cut_tar "$W/sign" ".SIGN.$5.$3"
}

# package NAME VERSION: REPO/NAME-VERSION.apk from the files in $W/files, and its lines for the index.
# Other names inside, another key and so on come by the variables.
package() {
    (cd "$W/files" && tar --format=ustar --owner=0 --group=0 --numeric-owner --sort=name --mtime=@0 -cf - -- *) \
        | gzip -n -9 > "$W/data"
    mkdir -p "$W/control"
    cat > "$W/control/.PKGINFO" <<INFO
pkgname = ${inside:-$1}
pkgver = $2
arch = x86_64
datahash = $(sha256sum "$W/data" | cut -d ' ' -f 1)
INFO
    cut_tar "$W/control" .PKGINFO > "$W/control.gz"
    signed "$W/control.gz" "${sign_with:-key}" "${key_name:-$KEY}" "${digest:-sha1}" "${prefix:-RSA}" > "$W/signature.gz"
    cat "$W/signature.gz" "$W/control.gz" "$W/data" > "$REPO/$1-$2.apk"
    printf 'C:Q1%s\nP:%s\nV:%s\nA:x86_64\n\n' "$(openssl dgst -sha1 -binary "$W/control.gz" | openssl base64 -A)" "$1" "$2" \
        > "$W/index/$1"
    rm -rf "$W/files"
    mkdir "$W/files"
}

index() {
    mkdir -p "$W/indexed"
    cat "$W/index"/* > "$W/indexed/APKINDEX"
    cut_tar "$W/indexed" APKINDEX > "$W/index.gz"
    signed "$W/index.gz" "${sign_with:-key}" "${key_name:-$KEY}" sha1 RSA > "$W/signature.gz"
    cat "$W/signature.gz" "$W/index.gz" > "$REPO/APKINDEX.tar.gz"
}

kernel_package() {
    mkdir -p "$W/files/boot" "$W/files/lib/modules/6.12.1-0-virt/kernel/drivers"
    echo "a kernel" > "$W/files/boot/vmlinuz-virt"
    echo kernel/drivers/virtio_pci.ko > "$W/files/lib/modules/6.12.1-0-virt/modules.builtin"
    # name:what it needs
    for module in virtio_blk: virtio_console: virtio-rng:rng-core rng-core: failover: net_failover:failover \
        virtio_net:net_failover af_packet: floppy:; do
        printf 'ELF\0depends=%s\0name=x\0' "${module#*:}" | gzip -n \
            > "$W/files/lib/modules/6.12.1-0-virt/kernel/drivers/${module%%:*}.ko.gz"
    done
    package linux-virt 6.12.1-r0
}

# In apk's place: installs the packages it is named from the mirror it is told, as far as build.sh can see.
apk_package() {
    mkdir -p "$W/files/sbin"
    cat > "$W/files/sbin/apk.static" <<'APK'
#!/bin/sh
set -eu
scripts=yes
while [ "$1" != add ]; do
    case $1 in
        --root) root=$2; shift ;;
        --repository) repository=$2; shift ;;
        --keys-dir) [ -n "$(ls "$2"/*.rsa.pub)" ]; shift ;;
        --arch) arch=$2; shift ;;
        --no-scripts) scripts=no ;;
    esac
    shift
done
shift
[ "$scripts" = no ] || { echo "scripts would run"; exit 1; }
if [ -n "${HOLD:-}" ]; then
    : > "$HOLD"
    while [ -e "$HOLD" ]; do sleep 0.05; done
fi
mkdir -p "$root/lib/apk/db" "$root/etc/apk"
for package in "$@"; do
    version=1.0-r0
    case $package in *=*) version=${package#*=} ;; esac
    case $package in openrc*) curl -fsS -o "$root/mark" "$repository/$arch/mark" ;; esac
    printf 'P:%s\nV:%s\n\n' "${package%%=*}" "$version" >> "$root/lib/apk/db/installed"
done
mkdir -p "$root/bin" "$root/sbin" "$root/etc/busybox-paths.d" "$root/etc/init.d" "$root/usr/share/man"
cp /bin/busybox "$root/bin/busybox"
printf '%s\n' /bin/sh /bin/mount /sbin/init /sbin/modprobe /sbin/poweroff > "$root/etc/busybox-paths.d/busybox"
echo 3.22.9 > "$root/etc/alpine-release"
echo 'root::0:0:root:/root:/bin/sh' > "$root/etc/passwd"
: > "$root/etc/init.d/hwclock"
: > "$root/sbin/openrc"
chmod 755 "$root/sbin/openrc"
APK
    package apk-tools-static 2.14.9-r3
}

fresh_mirror() {
    rm -rf "$W/mirror" "$W/index" "$W/files"
    mkdir -p "$REPO" "$W/index" "$W/files"
    echo mark > "$REPO/mark"
    kernel_package
    apk_package
    index
}

serve() {
    # Port 0 is not for busybox: the first free one is taken.
    for port in $(seq 18431 18480); do
        busybox httpd -f -p "127.0.0.1:$port" -h "$W" 2>/dev/null &
        server=$!
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            kill -0 "$server" 2>/dev/null || break
            if [ "$(curl -s "http://127.0.0.1:$port/token")" = "$$" ]; then return 0; fi
            sleep 0.05
        done
        kill "$server" 2>/dev/null || true
    done
    echo "no port for the mirror" >&2
    exit 1
}

build() {
    "$here/build.sh" --mirror "http://127.0.0.1:$port/mirror" --keys "$W/keys" --programs "$W/programs" --out "$W/out" "$@" \
        > "$W/log" 2>&1
}

# refused NAME WORDS [ARGUMENT…]: the build fails with these words, the image that was there is there still,
# and nothing else is.
refused() {
    name=$1 words=$2
    shift 2
    before=$(sha256sum "$W/out/stateless"/*)
    status=0
    build "$@" stateless || status=$?
    if [ "$status" = 1 ] && grep -q -- "$words" "$W/log" && [ "$before" = "$(sha256sum "$W/out/stateless"/*)" ] \
        && [ "$(listed "$W/out")" = stateless ]; then
        pass "$name"
    else
        echo "exit code $status; wanted 1 and: $words; in the directory: $(listed "$W/out")" >> "$W/log"
        fail "$name"
    fi
}

usage() {
    name=$1 words=$2
    shift 2
    status=0
    "$here/build.sh" --out "$W/nothing" "$@" > "$W/log" 2>&1 || status=$?
    if [ "$status" = 2 ] && grep -q -- "$words" "$W/log" && [ ! -e "$W/nothing" ]; then pass "$name"; else fail "$name"; fi
}

# What is in a directory, in one line.
listed() { find "$1" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | xargs; }

# lacks PATTERN FILE…: the files are there and no line fits.
lacks() {
    pattern=$1
    shift
    cat "$@" > "$W/looked" && ! grep -E "$pattern" "$W/looked"
}

# flip FILE OFFSET: changes one byte.
flip() {
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    # shellcheck disable=SC2059  # an octal escape
    printf "\\$(printf %03o $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# check NAME COMMAND…
check() {
    name=$1
    shift
    if "$@" > "$W/log" 2>&1; then pass "$name"; else fail "$name"; fi
}

echo "$$" > "$W/token"
mkdir -p "$W/keys" "$W/programs" "$W/control"
new_key key "$W/keys/$KEY"
new_key other "$W/other.pub"
(cd "$W/keys" && sha256sum ./*.pub | sed 's/\.\///' > SHA256SUMS)
for program in lb stateless holdfast-guest; do
    printf '#!/bin/sh\necho %s\n' "$program" > "$W/programs/$program"
    chmod 755 "$W/programs/$program"
done
fresh_mirror
serve

# --- arguments -------------------------------------------------------------------------------------------

help() { "$here/build.sh" --help | grep -q -- "--base alpine|debian-kernel"; }
check "help is the header" help
usage "an unknown option" "no option --frobnicate" --frobnicate
usage "an option without its value" "mirror needs a value" --mirror
usage "an unknown base" "no base 'gentoo'" --base gentoo
usage "a release that is none" "no release" --release edge
usage "a mirror that is no address" "no http or https address" --mirror ftp://x
usage "a role that is a path" "cannot be a role" ../lb
usage "a lock file that is not there" "cannot be read" --lock "$W/none"
echo "-----BEGIN OPENSSH PRIVATE KEY-----" > "$W/id"
echo "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@here" > "$W/id.pub"
usage "a private ssh key" "is a private key" --ssh-key "$W/id"
usage "a file that is no ssh key" "no ssh public key" --ssh-key "$W/token"
usage "an ssh key for the stand-in" "no ssh server" --base debian-kernel --ssh-key "$W/id.pub"

# --- a good build ----------------------------------------------------------------------------------------

unpack() { rm -rf "$W/root" && mkdir "$W/root" && (cd "$W/root" && gzip -dc "$W/out/$1/initrd" | cpio -idm --quiet); }

check "both roles build" build
[ "$failed" = 0 ] || { echo "Nothing else can be tested."; exit 1; }
check "nothing but the bundles is left" test "$(listed "$W/out")" = "lb stateless"
check "a bundle holds its four files" test "$(listed "$W/out/lb")" = "image.json initrd packages.lock vmlinuz"
check "image.json has the kernel's sum" grep -q "\"vmlinuz\", \"sha256\": \"$(sha256sum "$W/out/lb/vmlinuz" | cut -c 1-64)\"" "$W/out/lb/image.json"
check "image.json has the initrd's sum" grep -q "\"initrd\", \"sha256\": \"$(sha256sum "$W/out/lb/initrd" | cut -c 1-64)\"" "$W/out/lb/image.json"
check "image.json says what it is" grep -q '"distribution": "Alpine 3.22.9"' "$W/out/lb/image.json"
check "image.json says that it is no stand-in" grep -q '"stand_in": false' "$W/out/lb/image.json"
check "the real image keeps the mitigations" lacks mitigations "$W/out/lb/image.json"
check "the kernel is the signed package's" grep -q "a kernel" "$W/out/lb/vmlinuz"
check "the lock names kernel, apk and packages" test "$(sed 's/=.*//' "$W/out/lb/packages.lock" | xargs)" \
    = "alpine-baselayout alpine-release apk-tools-static busybox linux-virt musl openrc"
unpack stateless
check "the role's program is in the image" test -x "$W/root/usr/bin/stateless"
check "the other role's is not" test ! -e "$W/root/usr/bin/lb"
check "the guest program is in the image" test -x "$W/root/usr/sbin/holdfast-guest"
check "only our services are" test "$(listed "$W/root/etc/init.d")" = "holdfast holdfast-channel holdfast-configure"
check "they are in their runlevels" test "$(cd "$W/root/etc/runlevels" && find . -type l | sort | xargs)" \
    = "./boot/holdfast-configure ./default/holdfast ./default/holdfast-channel"
check "no getty runs" lacks "^[^#]*getty" "$W/root/etc/inittab"
check "root has no password to log in with" grep -q '^root:\*:' "$W/root/etc/shadow"
check "no account is without a password" lacks "^[^:]*::" "$W/root/etc/passwd" "$W/root/etc/shadow"
check "no ssh server is in the image" test ! -e "$W/root/etc/init.d/holdfast-ssh"
check "the package database is gone" test ! -e "$W/root/lib/apk"
check "the modules to load are those not built in" test "$(xargs < "$W/root/etc/modules")" \
    = "virtio_blk virtio_console virtio_rng virtio_net af_packet"
check "modules come with what they need, the needed last" grep -qx \
    'kernel/drivers/virtio_net.ko: kernel/drivers/net_failover.ko kernel/drivers/failover.ko' \
    "$W/root/lib/modules/6.12.1-0-virt/modules.dep"
check "modules are unpacked" grep -q ELF "$W/root/lib/modules/6.12.1-0-virt/kernel/drivers/virtio-rng.ko"
check "other modules stay out" test ! -e "$W/root/lib/modules/6.12.1-0-virt/kernel/drivers/floppy.ko"
check "all files are root's and of one time" test "$(gzip -dc "$W/out/stateless/initrd" \
    | cpio -itv --quiet --numeric-uid-gid | awk '{ print $3, $4, $6, $7, $8 }' | sort -u)" = "0 0 Jan 1 1970"

cp -R "$W/out" "$W/first"
chmod 700 "$W/programs/stateless"
check "a second build succeeds" build
check "and is the same bit for bit" diff -r "$W/first" "$W/out"
rm -rf "$W/out/lb" "$W/first/lb"

check "the lock of a build builds the same" build --lock "$W/first/stateless/packages.lock" stateless
check "bit for bit" diff -r "$W/first" "$W/out"
check "with an ssh key it builds" build --ssh-key "$W/id.pub" stateless
unpack stateless
check "the key is in the image, for root alone" test "$(stat -c %a "$W/root/root/.ssh/authorized_keys")" = 600
check "the ssh service is in its runlevel" test -L "$W/root/etc/runlevels/default/holdfast-ssh"
check "dropbear is in the lock" grep -q '^dropbear=' "$W/out/stateless/packages.lock"
check "a plain build again" build stateless

# --- what must be refused ----------------------------------------------------------------------------------

sed 's/^openrc=.*/openrc=9.9-r9/' "$W/first/stateless/packages.lock" > "$W/lock"
check "a lock is what apk is asked for" build --lock "$W/lock" stateless
check "and what the new lock says" diff "$W/lock" "$W/out/stateless/packages.lock"
sed 's/^linux-virt=.*/linux-virt=6.12.0-r0/' "$W/first/stateless/packages.lock" > "$W/lock"
refused "a locked version that the mirror has no more" "has no linux-virt 6.12.0-r0" --lock "$W/lock"
sed '/^musl=/d' "$W/first/stateless/packages.lock" > "$W/lock"
refused "a lock without a wanted package" "no line for musl" --lock "$W/lock"

sed -i 's/^./0/' "$W/keys/SHA256SUMS"
refused "a key with another sum" "somebody changed it"
: > "$W/keys/SHA256SUMS"
refused "an empty list of sums" "missing or empty"
(cd "$W/keys" && sha256sum "$KEY" > SHA256SUMS)
cp "$W/other.pub" "$W/keys/extra.rsa.pub"
refused "a key without a sum" "has no line in"
rm "$W/keys/extra.rsa.pub"

flip "$REPO/APKINDEX.tar.gz" $(($(wc -c < "$REPO/APKINDEX.tar.gz") - 20))
refused "an index with a flipped byte" "does not fit"
fresh_mirror
cp "$W/index.gz" "$REPO/APKINDEX.tar.gz"
refused "an index without a signature" "is not signed"
fresh_mirror
head -c 100 "$REPO/APKINDEX.tar.gz" > "$W/short" && cp "$W/short" "$REPO/APKINDEX.tar.gz"
refused "an index that is cut short" "not signed, or cut short"
fresh_mirror
sign_with=other index
refused "an index signed with another key under our key's name" "does not fit"
sign_with=other key_name=other@holdfast-1.rsa.pub index
refused "an index signed by a key that is not pinned" "none of the pinned keys"
fresh_mirror

apk=$REPO/apk-tools-static-2.14.9-r3.apk
size=$(wc -c < "$apk")
for place in "signature:400" "data:$((size - 60))" "end:$((size - 1))"; do
    flip "$apk" "${place#*:}"
    refused "apk-tools-static with a flipped byte (${place%%:*})" "refused"
    flip "$apk" "${place#*:}"
done
cp "$apk" "$W/whole.apk"
for part in 20 600 $((size / 2)) $((size - 1)); do
    head -c "$part" "$W/whole.apk" > "$apk"
    refused "apk-tools-static cut to $part of $size bytes" "refused"
done
cp "$W/whole.apk" "$apk"
printf 'more' >> "$apk"
refused "apk-tools-static with something appended" "changed or cut short"
cp "$W/whole.apk" "$apk"

# Signed by the right key, but not what it should be.
cp "$REPO/linux-virt-6.12.1-r0.apk" "$apk"
refused "another signed package in its place" "not the file the index speaks of"
fresh_mirror
echo x > "$W/files/x"
inside=busybox package apk-tools-static 2.14.9-r3
index
refused "another signed package, and an index that agrees" "holds another package"
unset inside
fresh_mirror
echo "not a program" > "$W/files/x"
sign_with=other package apk-tools-static 2.14.9-r3
unset sign_with
index
refused "a package signed with another key under our key's name" "does not fit"
fresh_mirror
rm "$REPO/linux-virt-6.12.1-r0.apk"
refused "a package the mirror does not have" "could not be downloaded"
fresh_mirror
rm "$REPO/mark"
refused "an apk that fails" "apk could not install"
fresh_mirror
digest=sha256 prefix=RSA256 kernel_package
unset digest prefix
index
check "a SHA-256 signature is good too" build stateless

# Interrupted while apk is at work; the build ends when apk has.
before=$(sha256sum "$W/out/stateless"/*)
export HOLD="$W/held"
"$here/build.sh" --mirror "http://127.0.0.1:$port/mirror" --keys "$W/keys" --programs "$W/programs" --out "$W/out" stateless \
    > "$W/log" 2>&1 &
interrupted=$!
while [ ! -e "$HOLD" ] && kill -0 "$interrupted" 2>/dev/null; do sleep 0.05; done
kill -TERM "$interrupted"
rm "$HOLD"
unset HOLD
status=0
wait "$interrupted" || status=$?
check "an interrupted build says so" test "$status" = 143
check "and keeps the old image" test "$before" = "$(sha256sum "$W/out/stateless"/*)"
check "and leaves nothing behind" test "$(listed "$W/out")" = stateless

fresh_mirror
refused "a release the mirror does not have" "is the release right" --release 9.9
cp "$(command -v ls)" "$W/programs/stateless"
refused "a program with shared libraries" "needs shared libraries"
rm "$W/programs/stateless"
refused "a program that is not there" "has no program stateless"

echo
if [ "$failed" -gt 0 ]; then
    echo "$failed of $((passed + failed)) tests FAILED."
    exit 1
fi
echo "$passed tests passed."
