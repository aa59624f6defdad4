#!/usr/bin/env bash
# Makes a host of a bare lab (HOLDFAST_BARE=1 deploy/lab.sh) a balancer of nginx and keepalived, set up as a
# careful person would. Runs on that host.
#
#   keepalived.sh LAB HOST INTERVAL     INTERVAL is the time between two adverts, in seconds
#
# keepalived's track_process listens to the kernel's process events, which reach the machine's first network
# namespace only, and no lab. It gets the same news here over a track_file, which it watches by inotify: this
# script waits for nginx and writes the file when it ends.
set -euo pipefail

LAB=$1 HOST=$2 INTERVAL=$3
DIR=$LAB/$HOST
VIP=192.168.10.120
SERVICE=192.168.10.101:8080
declare -A ADDRESS=([a]=192.168.10.1 [b]=192.168.10.2) PRIORITY=([a]=150 [b]=100)

ip address add "${ADDRESS[$HOST]}/24" dev enp3s0

cat >"$DIR/nginx.conf" <<EOF
daemon off;
user root;
worker_processes $(nproc);
pid $DIR/nginx.pid;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path $DIR/nginx-body;
    proxy_temp_path $DIR/nginx-proxy;
    fastcgi_temp_path $DIR/nginx-fastcgi;
    uwsgi_temp_path $DIR/nginx-uwsgi;
    scgi_temp_path $DIR/nginx-scgi;
    upstream service { server $SERVICE; keepalive 32; }
    server {
        listen 80 reuseport;
        location = /health { return 200; }
        location / {
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }
}
EOF

# With real-time priority keepalived limits itself to 10 ms without a pause, and is killed when a busy machine
# makes that too little; so it gets more. The check's interval is the shortest that keepalived 2.2 takes; a proxy that does not answer within half a
# second twice is out.
cat >"$DIR/keepalived.conf" <<EOF
global_defs {
    router_id $HOST
    vrrp_version 3
    enable_script_security
    script_user root
    vrrp_rt_priority 10
    vrrp_rlimit_rttime 5000000
    vrrp_no_swap
}
vrrp_script proxy_answers {
    script "$(command -v curl) -sf -m 0.5 -o /dev/null http://127.0.0.1/health"
    interval 1
    timeout 1
    fall 2
    rise 1
}
track_file proxy_lives {
    file "$DIR/proxy-gone"
    weight 0
    init_file 0 overwrite
}
vrrp_instance public {
    state BACKUP
    nopreempt
    interface enp3s0
    virtual_router_id 50
    priority ${PRIORITY[$HOST]}
    advert_int $INTERVAL
    virtual_ipaddress {
        $VIP/32
    }
    track_script {
        proxy_answers
    }
    track_file {
        proxy_lives
    }
}
EOF

/usr/sbin/nginx -p "$DIR" -c "$DIR/nginx.conf" -e "$DIR/nginx.log" &
nginx=$!
until curl -sf -m 1 -o /dev/null http://127.0.0.1/health; do sleep 0.02; done
keepalived --dont-fork --log-console --log-detail --vrrp --use-file "$DIR/keepalived.conf" \
    --pid "$DIR/keepalived.pid" --vrrp_pid "$DIR/vrrp.pid" >"$DIR/keepalived.log" 2>&1 &
wait "$nginx" || true
echo 1 >"$DIR/proxy-gone"
wait
