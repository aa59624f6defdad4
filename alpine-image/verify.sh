# shellcheck shell=sh
# Checks what an Alpine mirror gives, with openssl and nothing of Alpine's: this runs before any program
# from the mirror does. Sourced by build.sh, which brings `die`.
#
# An .apk is three gzip members one after the other, and APKINDEX.tar.gz is two:
#
#     .apk       signature | control: .PKGINFO, scripts | data: the files
#     APKINDEX   signature | index
#
# The signature member is a tar with a file .SIGN.RSA.<key's name> (over a SHA-1) or .SIGN.RSA256.<key's
# name> (over a SHA-256); what is signed are the compressed bytes of the member after it. .PKGINFO's
# datahash is the SHA-256 of the compressed data member. So the chain is: pinned key, control, data.

# A signature and a control member are a few kilobytes; longer ones are not searched for their end.
LONGEST_MEMBER=262144

sha256_of() { sha256sum -- "$1" | cut -d ' ' -f 1; }

# check_keys FROM TO: copies the keys that FROM/SHA256SUMS lists to TO, after comparing them with it. A key
# without a sum is refused: whoever can put a file into a directory should not become trusted by that.
check_keys() {
    [ -s "$1/SHA256SUMS" ] || die "$1/SHA256SUMS is missing or empty: list the keys there (sha256sum *.rsa.pub > SHA256SUMS)"
    mkdir -p "$2"
    for key in "$1"/*.rsa.pub; do
        [ -e "$key" ] || die "$1 holds no key (*.rsa.pub)"
        cp -- "$key" "$2/"
    done
    for key in "$2"/*.rsa.pub; do
        name=${key##*/}
        sum=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1 }' "$1/SHA256SUMS")
        [ -n "$sum" ] || die "the key $name has no line in $1/SHA256SUMS: remove the key or add its sum"
        [ "$sum" = "$(sha256_of "$key")" ] || die "the key $name is not the one of $1/SHA256SUMS: somebody changed it"
    done
}

# split_member FILE FIRST REST: the first gzip member of FILE to FIRST, what follows to REST. A member ends
# where the next one's header begins and gzip says that nothing is missing before it. A deflate stream says
# itself where it ends, so no other place can pass both.
split_member() {
    for end in $(od -An -v -tx1 -N "$LONGEST_MEMBER" -- "$1" | tr -s ' ' '\n' | awk '
        NF { if (before == "1f" && last == "8b" && $1 == "08" && at > 2) print at - 2
             before = last; last = $1; at++ }'); do
        head -c "$end" -- "$1" > "$2"
        if gzip -t < "$2" 2>/dev/null; then
            tail -c "+$((end + 1))" -- "$1" > "$3"
            return 0
        fi
    done
    return 1
}

# check_signature SIGNATURE-MEMBER SIGNED KEYS WHAT: at least one signature is by a key we have, and every
# such one is right.
check_signature() {
    good=0 names=
    for entry in $(tar -tzf "$1" 2>/dev/null); do
        case $entry in
            */*) die "$4: its signature names a path: refused" ;;
            .SIGN.RSA256.*) digest=sha256 name=${entry#.SIGN.RSA256.} ;;
            .SIGN.RSA.*) digest=sha1 name=${entry#.SIGN.RSA.} ;;
            *) continue ;;
        esac
        names="$names $name"
        [ -f "$3/$name" ] || continue
        tar -xzOf "$1" -- "$entry" > "$1.raw" 2>/dev/null || die "$4: its signature cannot be read: refused"
        openssl dgst "-$digest" -verify "$3/$name" -signature "$1.raw" "$2" >/dev/null 2>&1 \
            || die "$4: the signature by $name does not fit: it was changed or damaged on the way; refused"
        good=1
    done
    [ -n "$names" ] || die "$4 is not signed: refused"
    [ "$good" = 1 ] || die "$4 is signed by$names, which is none of the pinned keys: refused"
}

# verify_index FILE KEYS OUT: the text of an APKINDEX.tar.gz to OUT, once its signature fits.
verify_index() {
    split_member "$1" "$1.signature" "$1.rest" || die "APKINDEX.tar.gz is not signed, or cut short: refused"
    check_signature "$1.signature" "$1.rest" "$2" APKINDEX.tar.gz
    tar -xzOf "$1.rest" APKINDEX > "$3" 2>/dev/null || die "APKINDEX.tar.gz holds no APKINDEX: refused"
}

# index_of INDEX NAME [VERSION]: `version checksum` of a package in the index; nothing when it is not there.
index_of() {
    awk -v name="$2" -v version="${3:-}" '
        function tell() {
            if (p == name && (version == "" || v == version) && !told) { print v, c; told = 1 }
            p = v = c = ""
        }
        /^P:/ { p = substr($0, 3) }
        /^V:/ { v = substr($0, 3) }
        /^C:/ { c = substr($0, 3) }
        /^$/ { tell() }
        END { tell() }' "$1"
}

# verify_package FILE KEYS NAME VERSION CHECKSUM DATA: the compressed data member of an .apk to DATA, once
# all of this fits: signature, the index's checksum of the control member, name and version inside (a signed
# package in another's place is no better than an unsigned one), and the data's hash.
verify_package() {
    what="$3-$4.apk"
    split_member "$1" "$1.signature" "$1.rest" || die "$what is not signed, or cut short: refused"
    split_member "$1.rest" "$1.control" "$6" || die "$what is cut short: refused"
    check_signature "$1.signature" "$1.control" "$2" "$what"
    case $5 in
        Q1*) digest=sha1 ;;
        Q2*) digest=sha256 ;;
        *) die "$what: the index gives no checksum that is known here ($5): refused" ;;
    esac
    [ "${5#Q?}" = "$(openssl dgst "-$digest" -binary "$1.control" | openssl base64 -A)" ] \
        || die "$what is not the file the index speaks of: refused"
    tar -xzOf "$1.control" .PKGINFO > "$1.info" 2>/dev/null || die "$what holds no .PKGINFO: refused"
    [ "$(sed -n 's/^pkgname = //p' "$1.info")" = "$3" ] || die "$what holds another package: refused"
    [ "$(sed -n 's/^pkgver = //p' "$1.info")" = "$4" ] || die "$what holds another version: refused"
    [ "$(sed -n 's/^datahash = //p' "$1.info")" = "$(sha256_of "$6")" ] \
        || die "$what: its files are not the ones that were signed: changed or cut short; refused"
}
