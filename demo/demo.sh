#!/usr/bin/env bash
# Moves a volume through a passthrough route, changes it, moves it again, and compares both trees.
#
# demo/demo.sh            a small volume of awkward things, in a temporary folder
# SRC=DIR demo/demo.sh    your volume; it is only read
# DST=DIR demo/demo.sh    your target, empty or an earlier copy; nothing in it is deleted
#
# `make demo` builds barge and installs what this needs first.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
barge=${CARGO_TARGET_DIR:-$here/../target}/release/barge
host=barge-demo.test
PATH=$PATH:/usr/sbin:/sbin

work=$(mktemp -d "${TMPDIR:-/tmp}/barge-demo.XXXXXX")
source=${SRC:-$work/source}
target=${DST:-$work/target}
serve_pid=
haproxy_pid=

clean_up() {
    for pid in $serve_pid $haproxy_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    # Folders of the demo's own volume may forbid their owner to look in.
    chmod -R u+rwX "$work" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() { printf '\n== %s\n' "$*"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

# Waits for `$1` in a line of file `$2`, ten seconds at most.
wait_for() {
    for _ in $(seq 200); do
        grep -q "$1" "$2" 2>/dev/null && return
        sleep 0.05
    done
    cat "$2" >&2
    fail "no \"$1\" in the log"
}

listens() { (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A TCP port of the loopback interface that nobody listens on, of the thousand from `$1` up.
free_port() {
    local port=$(($1 + RANDOM % 1000))
    while listens "$port"; do port=$((port + 1)); done
    echo "$port"
}

start_route() {
    cat >"$work/haproxy.cfg" <<CONFIG
global
    log stdout format raw local0 info
defaults
    mode tcp
    log global
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    timeout tunnel 1h
frontend public_ssl
    bind 127.0.0.1:$route_port
    tcp-request inspect-delay 5s
    tcp-request content accept if { req.ssl_hello_type 1 }
    use_backend volume if { req.ssl_sni -i $host }
backend volume
    server pod 127.0.0.1:$serve_port
CONFIG
    haproxy -db -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
    haproxy_pid=$!
    for _ in $(seq 200); do
        listens "$route_port" && return
        sleep 0.05
    done
    cat "$work/haproxy.log" >&2
    fail 'HAProxy does not start'
}

# One pass: a server that ends with the run, and a client that comes through the route.
move() {
    local report=$1 log=$work/serve.log send=0 serve=0
    "$barge" serve --once --volume "demo=$target" --tls "$work/keys/server" \
        --listen "127.0.0.1:$serve_port" >"$log" 2>&1 &
    serve_pid=$!
    wait_for 'listening on' "$log"
    "$barge" send "$source" --volume demo --tls "$work/keys/client" --to "127.0.0.1:$route_port" \
        --server-name "$host" --report "$report" "${options[@]}" || send=$?
    # A client that never reached the server leaves it waiting.
    if [ "$send" -ne 0 ]; then kill "$serve_pid" 2>/dev/null || true; fi
    wait "$serve_pid" || serve=$?
    serve_pid=
    if [ "$send" -ne 0 ] || [ "$serve" -ne 0 ]; then
        cat "$log" >&2
        fail "barge send ended with $send, barge serve with $serve"
    fi
}

# A number of a report.
number() { grep -o "\"$2\": *[0-9]*" "$1" | head -1 | grep -o '[0-9]*$'; }

[ -x "$barge" ] || fail "$barge is not built: make demo"
options=()
if [ -z "${SRC:-}" ]; then
    step "Making a volume of awkward things in $source"
    "$here/volume.sh" "$source"
fi
# Nothing is deleted where anything is yours.
if [ -z "${SRC:-}${DST:-}" ]; then options+=(--delete); fi
mkdir -p "$target"

step "Making throw-away keys: a CA, a server and a client"
"$barge" keys "$work/keys" --host "$host"

serve_port=$(free_port 20000)
route_port=$(free_port 22000)
step "Starting HAProxy as the passthrough route: 127.0.0.1:$route_port, by the name $host"
start_route

step "Moving $source to $target"
move "$work/first.json"

if [ -z "${SRC:-}" ]; then
    step "Changing a few files"
    "$here/change.sh" "$source"
else
    step "Changing nothing: $source is yours"
fi

step "Moving again: only the difference is sent"
move "$work/second.json"

step "Comparing both trees without barge"
"$here/compare.sh" "$source" "$target"

step "The two reports"
cat "$work/first.json" "$work/second.json"
printf '\nContent sent: %s bytes at first, then %s.\n' \
    "$(number "$work/first.json" bytes_sent)" "$(number "$work/second.json" bytes_sent)"
