#!/usr/bin/env bash
# Starts a proxy of the suite `faults` that is not ours, tuned as a careful person would: the shortest
# timeouts that a service with answers of milliseconds allows, the next backend after an error or a timeout,
# and health checks where there are any. It becomes the proxy.
#
#   faults-peers.sh nginx|haproxy DIR LISTEN BACKEND…
set -euo pipefail

SUBJECT=$1 DIR=$2 LISTEN=$3
shift 3

nginx() {
    local servers
    servers=$(printf '        server %s max_fails=1 fail_timeout=10s;\n' "$@")
    cat >"$DIR/nginx.conf" <<CONF
daemon off;
user root;
worker_processes $(nproc);
worker_rlimit_nofile 20000;
pid $DIR/nginx.pid;
events { worker_connections 8192; }
http {
    access_log off;
    keepalive_timeout 75s;
    keepalive_requests 1000000;
    client_body_temp_path $DIR/nginx-body;
    proxy_temp_path $DIR/nginx-proxy;
    fastcgi_temp_path $DIR/nginx-fastcgi;
    uwsgi_temp_path $DIR/nginx-uwsgi;
    scgi_temp_path $DIR/nginx-scgi;
    upstream service {
        zone service 256k;
$servers
        keepalive 64;
        keepalive_requests 1000000;
    }
    server {
        listen $LISTEN reuseport;
        location / {
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$http_host;
            proxy_next_upstream error timeout;
            proxy_connect_timeout 1s;
            proxy_read_timeout 2s;
            proxy_send_timeout 2s;
        }
    }
}
CONF
    exec /usr/sbin/nginx -p "$DIR" -c "$DIR/nginx.conf" -e "$DIR/nginx.log"
}

haproxy() {
    local number=0 servers='' backend
    for backend in "$@"; do
        number=$((number + 1))
        servers+="    server s$number $backend"$'\n'
    done
    cat >"$DIR/haproxy.cfg" <<CONF
global
    nbthread $(nproc)
    maxconn 8192
defaults
    mode http
    timeout client 75s
    timeout connect 1s
    timeout server 2s
    timeout check 400ms
    http-reuse always
    option http-keep-alive
    option redispatch 1
    retries 3
    retry-on all-retryable-errors
frontend clients
    bind $LISTEN
    default_backend service
backend service
    balance roundrobin
    option httpchk GET /health/ready
    default-server check inter 500ms fall 2 rise 2
$servers
CONF
    exec /usr/sbin/haproxy -db -f "$DIR/haproxy.cfg"
}

"$SUBJECT" "$@"
