# shellcheck shell=bash
# What the suite `tcp` has other than the suite `proxy`: its cases, its bounds, and the settings of its subjects. It is sourced.
#
#   keepalive-saturated, -2t   64 connections over which small questions go as fast as they can
#   new-connection             a connection for each question: what connecting costs, both sides
#   body-1m, body-100m         1 MiB and 100 MiB to the client: what a MiB costs
#   upload-1m                  1 MiB from the client
#   idle-2000, idle-20000      connections that are silent
#
# All three spread over all upstreams by least connections, check them (nginx passively), try another one where one
# cannot be connected to, and write each connection to a file.

# shellcheck disable=SC2034 # the suite's
ALL=(keepalive-saturated keepalive-saturated-2t new-connection body-1m body-100m upload-1m idle-2000 idle-20000)

# shellcheck disable=SC2034 # the suite's
BOUNDS='
keepalive-saturated cpu_us_per_request peers 1.10
new-connection cpu_us_per_request peers 1.35
body-1m cpu_us_per_request peers 1.10
idle-2000 kb_per_idle_connection lb 3
idle-20000 kb_per_idle_connection lb 3
'

# shellcheck disable=SC2034 # the suite's
SATURATED=(keepalive-saturated)

# Where Debian's package has nginx's module.
NGINX_STREAM=/usr/lib/nginx/modules/ngx_stream_module.so

need_more() { need_stopped "$NGINX_STREAM:libnginx-mod-stream"; }

# configure_nginx THREADS UPSTREAMS CONNECTIONS
configure_nginx() {
    local log='access_log off;'
    [ "$ACCESS_LOG" = off ] || log="access_log $DIR/access.log passed buffer=64k flush=100ms;"
    cat >"$DIR/nginx.conf" <<CONF
load_module $NGINX_STREAM;
daemon off;
user root;
worker_processes $1;
worker_rlimit_nofile $FILES;
pid $DIR/nginx.pid;
events { worker_connections $3; }
stream {
    log_format passed '\$remote_addr [\$time_local] \$status \$bytes_received \$bytes_sent \$session_time "\$upstream_addr"';
    $log
    tcp_nodelay on;
    upstream service {
        zone service $((256 + $2))k;
        least_conn;
$(upstream_addresses "$2" | sed "s/.*/        server &:$BACKEND_PORT max_fails=1 fail_timeout=10s;/")
    }
    server {
        listen $PLAIN_AT reuseport backlog=65535;
        listen $TLS_AT reuseport backlog=65535;
        proxy_pass service;
        proxy_connect_timeout 1s;
        proxy_timeout 10m;
        proxy_next_upstream on;
        proxy_buffer_size 16k;
    }
}
CONF
}

# configure_haproxy THREADS UPSTREAMS CONNECTIONS
configure_haproxy() {
    local log=''
    [ "$ACCESS_LOG" = off ] || log=$'log global\n    option tcplog'
    cat >"$DIR/haproxy.cfg" <<CONF
global
    nbthread $1
    maxconn $3
    no strict-limits
    log stdout format raw local0 info
defaults
    mode tcp
    $log
    timeout client 10m
    timeout connect 1s
    timeout server 10m
    timeout check 500ms
    option redispatch 1
    option splice-auto
    retries 3
frontend clients
    bind $PLAIN_AT backlog 65535
    bind $TLS_AT backlog 65535
    default_backend service
backend service
    balance leastconn
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
listen = "127.0.0.1:$HTTP_PORT"
admin_port = $ADMIN_PORT
admin_changes_port = $CHANGES_PORT
state_dir = "$DIR/state"
workers = $1
$log
[limits]
connections = $3
[[config.tcp]]
name = "service"
port = $PLAIN_PORT
pool = "service"
[[config.tcp]]
name = "other"
port = $TLS_PORT
pool = "service"
[config.pools.service]
balance = { algorithm = "least_requests" }
check = { active = true, interval_ms = $(check_interval "$2"), ask = { tcp = {} } }
upstream_limits = { max_connections = 1000000, max_requests = 1000000 }
${BENCH_LB_POOL:-}
[upstreams]
service = [
$(upstream_addresses "$2" | awk -v port="$BACKEND_PORT" \
        '{ print "    { id = \"u" NR - 1 "-0\", address = \"" $1 "\", port = " port " }," }')
]
CONF
    mkdir "$DIR/state"
}

# It has to be somewhere.
HTTP_PORT=9081
