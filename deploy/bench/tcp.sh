#!/usr/bin/env bash
# The suite `tcp` of deploy/bench.sh, which is how it is started: what connections cost that our balancer passes on as they
# come, beside HAProxy in TCP mode and nginx's stream module.
#
# It is the suite `proxy` with other settings of the subjects (tcp-subjects.sh) and fewer cases: what is sent over the
# connections is HTTP all the same, of which none of the three knows. The cases forwarded-… are those that the kernel can take
# part in (tcp-kernel.sh).
set -euo pipefail
export SUITE=tcp
here=$(dirname "${BASH_SOURCE[0]}")

forwarded='' others=''
for case in ${CASES:-}; do
    case $case in
        forwarded-*) forwarded+=" $case" ;;
        *) others+=" $case" ;;
    esac
done
if [ -z "${CASES:-}" ] || [ -n "$forwarded" ]; then
    TABLE_FOLLOWS=1
    [ -z "${CASES:-}" ] || [ -n "$others" ] || TABLE_FOLLOWS=0
    CASES=$forwarded TABLE_FOLLOWS=$TABLE_FOLLOWS "$here/tcp-kernel.sh"
    [ "$TABLE_FOLLOWS" = 1 ] || exit 0
fi
CASES=$others exec "$here/proxy.sh"
