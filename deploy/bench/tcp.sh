#!/usr/bin/env bash
# The suite `tcp` of deploy/bench.sh, which is how it is started: what connections cost that our balancer passes on as they
# come, beside HAProxy in TCP mode and nginx's stream module.
#
# It is the suite `proxy` with other settings of the subjects (tcp-subjects.sh) and fewer cases: what is sent over the
# connections is HTTP all the same, of which none of the three knows.
set -euo pipefail
export SUITE=tcp
exec "$(dirname "${BASH_SOURCE[0]}")/proxy.sh"
