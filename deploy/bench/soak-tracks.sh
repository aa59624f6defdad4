# shellcheck shell=bash
# What the suite `soak` of deploy/bench.sh does to balancers, backends and clients, and when: three tracks that
# run beside each other, each through a plan of its own. It is sourced by soak.sh.
#
# The plans are drawn from the seed alone before anything begins, with the moment of each act, so that the same
# seed does the same at the same times. An act that took longer than planned delays the one after it.
#
#   backends  one is killed, destroyed, frozen or black-holed for a while, then left in peace for a while
#   control   sets in which backends drain, leave and come back as new ones; configurations; hand-overs of the
#             address between the two balancers; restarts of the second one, after a hand-over if it is needed
#   clients   some that read or send slowly, some that leave while they wait or while they are answered, and
#             some that never finish what they ask
#
# Each act leaves a line in DIR/acts: when it began and ended, in ms of the Unix epoch, what and to whom.

FAULTS=(kill destroy freeze blackhole)
CONTROLS=(swap swap swap config config hand-over restart)
CLIENTS=(reader reader sender sender leave-waiting leave-reading half-head)

# draw LEAST MOST leaves a number in DRAWN. Not printed: in a subshell the sequence would not go on.
draw() { DRAWN=$(($1 + RANDOM % ($2 - $1 + 1))); }

# make_plans SEED MS writes what happens in so many milliseconds: at what millisecond, what, to whom, how long
# or how often.
make_plans() {
    local at act whom end=$2
    RANDOM=$1
    for ((at = 1000; at < end - 8000; at += DRAWN)); do
        draw 0 $((${#FAULTS[@]} - 1)) && act=${FAULTS[DRAWN]}
        draw 1 4 && whom=$DRAWN
        draw 500 6000 && echo "$at $act $whom $DRAWN" >>"$DIR/backends.plan"
        at=$((at + DRAWN)) && draw 500 5000
    done
    for ((at = 2000; at < end - 12000; at += DRAWN)); do
        draw 0 $((${#CONTROLS[@]} - 1)) && act=${CONTROLS[DRAWN]}
        draw 1 4 && whom=$DRAWN
        draw 1 20 && echo "$at $act $whom $DRAWN" >>"$DIR/control.plan"
        draw 500 5000
    done
    for ((at = 500; at < end - 12000; at += DRAWN)); do
        draw 0 $((${#CLIENTS[@]} - 1)) && act=${CLIENTS[DRAWN]}
        draw 1 4 && echo "$at $act - $DRAWN" >>"$DIR/clients.plan"
        draw 200 1500
    done
}

# follow TRACK waits for each moment of a plan and does what is due.
follow() {
    local at act whom much ahead began
    while read -r at act whom much; do
        ahead=$((BEGUN + at - $(now_ms)))
        [ "$ahead" -le 0 ] || sleep "$((ahead / 1000)).$(printf '%03d' $((ahead % 1000)))"
        began=$(now_ms)
        "$1" "$act" "$whom" "$much"
        echo "$began $(now_ms) $act $whom" >>"$DIR/acts"
    done <"$DIR/$1.plan"
}

# --- backends --------------------------------------------------------------------------------------------

backends() {
    harm "$1" "$2"
    sleep "$(($3 / 1000)).$(printf '%03d' $(($3 % 1000)))"
    heal "$1" "$2"
    backend_serves "$2"
}

# --- control ---------------------------------------------------------------------------------------------

# Both balancers are always told the same.
LIFE=(0 1 1 1 1)
GENERATION=1

# push [NUMBER STATE] sends a set in which all are ready but that one; `out` leaves it out.
push() {
    local number entries=() balancer set
    for number in 1 2 3 4; do
        case ${1:-}:${2:-} in
            "$number:out") ;;
            "$number:"*) entries+=("$(upstream "$number" "${LIFE[number]}" "$2")") ;;
            *) entries+=("$(upstream "$number" "${LIFE[number]}")") ;;
        esac
    done
    GENERATION=$((GENERATION + 1))
    set=$(upstream_set $GENERATION "${entries[@]}")
    for balancer in "${BALANCERS[@]}"; do await "a set at $balancer" put "$balancer" /upstreams "$set"; done
}

# swap NUMBER TIMES: it drains, leaves, and comes back as a new one.
swap() {
    local i
    for ((i = 0; i < $2; i++)); do
        push "$1" draining
        push "$1" out
        LIFE[$1]=$((LIFE[$1] + 1))
        push
    done
}

configure() {
    local balancer config
    GENERATION=$((GENERATION + 1))
    config=$(printf '{"generation": %s, "routes": [{"name": "all", "pool": "service"}], "pools": {"service": {"max_tries": %s, "eject_after": %s, "hold_requests": %s}}}' \
        $GENERATION $((3 + $1 % 2)) $((2 + $1 % 3)) $((1000 + $1)))
    for balancer in "${BALANCERS[@]}"; do await "a configuration at $balancer" put "$balancer" /config "$config"; done
}

# Which of the two holds the address; 0 for none.
holder() {
    local number
    for number in 1 2; do
        if ip -n "lb$number" -o address show to "$VIP" | grep -q .; then echo "$number" && return 0; fi
    done
    echo 0
}

state_is() { curl -sf -m 1 "http://${BALANCERS[$1 - 1]}:8080/vip" | grep -q "\"state\":\"$2\""; }

handed_over() {
    local view
    view=$(curl -sf -m 1 "http://${BALANCERS[$1 - 1]}:8080/hand-over")
    HANDED=$(sed -n 's/.*"state":"\([a-z]*\)".*/\1/p' <<<"$view") CUT=$(sed -n 's/.*"cut":\([0-9]*\).*/\1/p' <<<"$view")
    [[ $HANDED == *done ]]
}

# Requests in progress have as long as the slowest client needs. Leaves in DIR/handed what came of it, how many
# connections it cut, and from when to when it was under way.
hand_over() {
    local from to since
    await "a holder" held
    from=$(holder) to=$((3 - from))
    await "the standby" state_is "$to" backup
    since=$(now_ms)
    if put "${BALANCERS[from - 1]}" /hand-over '{"finish_ms": 20000}'; then
        await "the end of the hand-over" handed_over "$from"
    else
        HANDED=refused CUT=0
    fi
    echo "$HANDED $CUT $since $(now_ms)" >>"$DIR/handed"
}

held() { [ "$(holder)" != 0 ]; }

# What an upgrade is: the other one serves meanwhile. The first one lives on, so that what it keeps is seen.
restart() {
    await "a holder" held
    if [ "$(holder)" = 2 ]; then hand_over; fi
    # A hand-over may be undone: then there is no restart either.
    [ "$(holder)" = 1 ] || return 0
    kill -TERM "$(cat "$DIR/lb2.pid")"
    wait "$(cat "$DIR/lb2.pid")" || true
    start_balancer 2
    await "the second balancer" state_is 2 backup
}

control() {
    case $1 in
        swap) swap "$2" "$3" ;;
        config) configure "$3" ;;
        hand-over) hand_over ;;
        restart) restart ;;
    esac
}

# --- clients ---------------------------------------------------------------------------------------------

# So many of a kind at once, which go on by themselves.
clients() {
    local i
    for ((i = 0; i < $3; i++)); do client "$1" & done
}

# Leaves a line in DIR/clients: when it began and ended, its kind, whether all went as it should, and who
# served it.
client() {
    local began code=0 result=well head served
    began=$(now_ms)
    head=$(mktemp "$DIR/head.XXXXXX")
    case $1 in
        reader)
            code=$(curl -s -m 60 -D "$head" --limit-rate 100K -o "$head.body" -w '%{exitcode}:%{http_code}:%{size_download}' \
                "http://$VIP:8000/bytes/600000") || true
            [ "$code" = 0:200:600000 ] || result=$code
            ;;
        sender)
            code=$(head -c 20000 /dev/zero | tr '\0' x \
                | curl -s -m 60 -D "$head" --limit-rate 4K -H 'expect:' --data-binary @- -o "$head.body" \
                    -w '%{exitcode}:%{http_code}:%{size_download}' "http://$VIP:8000/echo") || true
            [ "$code" = 0:200:20000 ] || result=$code
            ;;
        leave-waiting) curl -s -m 0.2 -o /dev/null "http://$VIP:8000/stress?seconds=3" || true ;;
        leave-reading) curl -s -m 0.4 --limit-rate 10M -o /dev/null "http://$VIP:8000/bytes/50000000" || true ;;
        half-head)
            # The balancer has to end it; nobody else does.
            # shellcheck disable=SC2016 # expands there
            timeout 30 bash -c 'exec 3<>"/dev/tcp/$0/8000" && printf "GET / HTTP/1.1\r\nHo" >&3 && cat <&3 >/dev/null' "$VIP" \
                2>/dev/null || code=$?
            [ "$code" != 124 ] || result=never-ended
            ;;
    esac
    served=$(sed -n 's/^x-served-by: b\([0-9]\).*/\1/ip' "$head" | head -n 1)
    rm -f "$head" "$head.body"
    echo "$began $(now_ms) $1 $result ${served:--}" >>"$DIR/clients"
}
