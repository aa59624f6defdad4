# shellcheck shell=bash
# The proxies that the suite `proxy` compares: how each is set up, started and ended. It is sourced.
#
# All three do the same: spread over all upstreams in turn, keep connections to them, try another one where that is
# safe, check them (nginx has passive checks only), count, write each request to a file, and tell upstreams of the client with
# the same three header fields. A subject of ours is `lb proxy`, the process that forwards.

PLAIN_PORT=8000 TLS_PORT=8443 BACKEND_PORT=8080
ADMIN_PORT=9080 CHANGES_PORT=9443
PLAIN_AT=127.0.0.1:$PLAIN_PORT
TLS_AT=127.0.0.1:$TLS_PORT

# The programs, for their sizes too.
declare -A PROGRAM=([lb]=$HOLDFAST_BIN/lb [nginx]=/usr/sbin/nginx [haproxy]=/usr/sbin/haproxy)

# off: nobody writes requests to a file.
ACCESS_LOG=${BENCH_ACCESS_LOG:-on}

# upstream_addresses COUNT prints them: four as in the other suites, others as `bench push` has them.
upstream_addresses() {
    if [ "$1" = 4 ]; then
        printf '127.0.0.%s\n' 11 12 13 14
    else
        awk -v count="$1" 'BEGIN { for (i = 1; i <= count; i++) printf "127.1.%d.%d\n", i / 256, i % 256 }'
    fi
}

# Each upstream is asked so often, in ms; of 10,000 there are no more than 500 checks a second.
check_interval() { if [ "$1" -gt 1000 ]; then echo $(($1 * 2)); else echo 2000; fi; }

# configure_nginx THREADS UPSTREAMS CONNECTIONS. Its table of connections is as large as it is told, whether they are there
# or not, so it is told what the case needs. It has no temporary files: with them large bodies cost it twice as much.
configure_nginx() {
    local log='access_log off;' keep=512
    [ "$ACCESS_LOG" = off ] || log="access_log $DIR/access.log combined buffer=64k flush=100ms;"
    [ "$2" -le 256 ] || keep=$(($2 * 2))
    cat >"$DIR/nginx.conf" <<CONF
daemon off;
user root;
worker_processes $1;
worker_rlimit_nofile $FILES;
pid $DIR/nginx.pid;
events { worker_connections $3; }
http {
    $log
    server_tokens off;
    tcp_nodelay on;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_buffer_size 128k;
    client_body_temp_path $DIR/nginx-body;
    proxy_temp_path $DIR/nginx-proxy;
    fastcgi_temp_path $DIR/nginx-fastcgi;
    uwsgi_temp_path $DIR/nginx-uwsgi;
    scgi_temp_path $DIR/nginx-scgi;
    upstream service {
        zone service $((256 + $2))k;
$(upstream_addresses "$2" | sed "s/.*/        server &:$BACKEND_PORT max_fails=1 fail_timeout=10s;/")
        keepalive $keep;
        keepalive_requests 1000000000;
    }
    server {
        listen $PLAIN_AT reuseport backlog=65535;
        listen $TLS_AT ssl http2 reuseport backlog=65535;
        ssl_certificate $CERTIFICATE/cert.pem;
        ssl_certificate_key $CERTIFICATE/key.pem;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:sessions:4m;
        location / {
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$http_host;
            proxy_set_header X-Forwarded-For \$remote_addr;
            proxy_set_header X-Forwarded-Proto \$scheme;
            proxy_set_header X-Forwarded-Host \$http_host;
            proxy_next_upstream error timeout;
            proxy_connect_timeout 1s;
            proxy_read_timeout 30s;
            proxy_send_timeout 30s;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_buffers 16 32k;
        }
    }
}
CONF
}

# configure_haproxy THREADS UPSTREAMS CONNECTIONS. The only file that it writes requests to itself is its standard output. It
# wants two open files for each connection that there may be, and has to start with fewer.
configure_haproxy() {
    local log=''
    [ "$ACCESS_LOG" = off ] || log=$'log global\n    option httplog'
    cat >"$DIR/haproxy.cfg" <<CONF
global
    nbthread $1
    maxconn $3
    no strict-limits
    log stdout format raw local0 info
defaults
    mode http
    $log
    timeout client 75s
    timeout http-keep-alive 75s
    timeout connect 1s
    timeout server 30s
    timeout check 500ms
    http-reuse always
    option http-keep-alive
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response response-timeout
frontend clients
    bind $PLAIN_AT backlog 65535
    bind $TLS_AT ssl crt $CERTIFICATE/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2 backlog 65535
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    http-request set-header X-Forwarded-Proto http unless { ssl_fc }
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    default_backend service
backend service
    balance roundrobin
    option httpchk GET /health/ready
    default-server check inter $(check_interval "$2")ms fall 2 rise 1
$(upstream_addresses "$2" | awk -v port="$BACKEND_PORT" '{ print "    server s" NR " " $1 ":" port }')
CONF
}

# configure_lb THREADS UPSTREAMS CONNECTIONS. All that is not said here are its defaults.
configure_lb() {
    local log=''
    [ "$ACCESS_LOG" = off ] || log="[access_log]"$'\n'"path = \"$DIR/access.log\""
    cat >"$DIR/lb.toml" <<CONF
machine = "lb"
address = "127.0.0.1"
admin_port = $ADMIN_PORT
admin_changes_port = $CHANGES_PORT
state_dir = "$DIR/state"
workers = $1
$log
[limits]
connections = $3
[[listener]]
address = "$PLAIN_AT"
[[listener]]
address = "$TLS_AT"
[listener.tls]
[[config.certificates]]
chain_file = "$CERTIFICATE/cert.pem"
key_file = "$CERTIFICATE/key.pem"
[[config.routes]]
name = "all"
pool = "service"
[config.pools.service]
check = { active = true, interval_ms = $(check_interval "$2") }
${BENCH_LB_POOL:-}
[upstreams]
service = [
$(upstream_addresses "$2" | awk -v port="$BACKEND_PORT" \
        '{ print "    { id = \"u" NR - 1 "-0\", address = \"" $1 "\", port = " port " }," }')
]
CONF
    mkdir "$DIR/state"
}

# prepare SUBJECT THREADS UPSTREAMS CONNECTIONS makes DIR, in memory, with its settings.
prepare() {
    DIR=$(mktemp -d "$WORK/XXXXXX")
    "configure_$1" "${@:2}"
}

# launch SUBJECT leaves the id of its first process in SUBJECT_PID.
launch() {
    local command
    case $1 in
        lb) command=("${PROGRAM[lb]}" proxy --config "$DIR/lb.toml") ;;
        nginx) command=("${PROGRAM[nginx]}" -p "$DIR" -c "$DIR/nginx.conf" -e "$DIR/nginx.log") ;;
        haproxy) command=("${PROGRAM[haproxy]}" -db -f "$DIR/haproxy.cfg") ;;
    esac
    taskset -c "$SUBJECT_CORES" "${command[@]}" >"$DIR/access.log" 2>"$DIR/proxy.log" &
    SUBJECT_PID=$!
}

# listeners PORT prints the ids of the processes that listen there.
listeners() { ss -Htlnp "sport = :$1" | grep -o 'pid=[0-9]*' | cut -d = -f 2 | sort -u; }

# shellcheck disable=SC2317 # called by await
nobody_listens() { [ -z "$(listeners $PLAIN_PORT)" ] && [ -z "$(listeners $TLS_PORT)" ]; }

# Whoever is measured has to be the one that answers: a worker that was left behind would take its load.
check_owner() {
    local pid mine port
    mine=" $("$BENCH" processes "$SUBJECT_PID" | tr '\n' ' ')"
    for port in $PLAIN_PORT $TLS_PORT; do
        [ -n "$(listeners "$port")" ] || STATUS=3 die "$1: nobody listens on $port; the logs are in $(keep_logs)"
        for pid in $(listeners "$port"); do
            [[ $mine == *" $pid "* ]] || STATUS=3 die "$1: process $pid listens on $port, and is none of its own"
        done
    done
}

# start_subject SUBJECT THREADS UPSTREAMS CONNECTIONS
start_subject() {
    prepare "$@"
    launch "$1"
    await "$1" "$BENCH" answered "$PLAIN_AT" --patience 20
    check_owner "$1"
}

# end_subject ends it, the first process first: a worker that dies before its master is replaced.
end_subject() {
    local pid
    for pid in $("$BENCH" processes "$SUBJECT_PID"); do kill -KILL "$pid" 2>/dev/null || true; done
    wait "$SUBJECT_PID" 2>/dev/null || true
    await "the end of the one before" nobody_listens
    rm -rf "$DIR"
}
