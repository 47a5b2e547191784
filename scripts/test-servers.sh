#!/usr/bin/env bash
# Runs a command with a PostgreSQL, a Redis and a NATS of its own on free ports, and ends them afterwards:
#   scripts/test-servers.sh [--] cargo test
# The command finds them in MERCURIALE_TEST_DATABASE_URL (a superuser), MERCURIALE_TEST_REDIS_URL and
# MERCURIALE_TEST_NATS_URL. All data is in a temporary folder. Exits with the command's own code.
set -euo pipefail

if [[ ${1:-} == -- ]]; then shift; fi
if (($# == 0)); then
    echo "usage: $0 [--] COMMAND [ARGUMENT...]" >&2
    exit 2
fi

# Debian keeps daemons in sbin and PostgreSQL's programs out of PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin
shopt -s nullglob

# Prints the folder that holds postgres, initdb and pg_ctl, the newest one if there are several.
postgres_bin() {
    local folder candidates=()
    mapfile -t candidates < <(printf '%s\n' /usr/lib/postgresql/*/bin | sort --version-sort --reverse)
    if command -v pg_config >/dev/null; then candidates+=("$(pg_config --bindir)"); fi
    if command -v pg_ctl >/dev/null; then candidates+=("$(dirname "$(readlink -f "$(command -v pg_ctl)")")"); fi
    for folder in "${candidates[@]}"; do
        if [[ -x $folder/postgres && -x $folder/initdb && -x $folder/pg_ctl ]]; then
            echo "$folder"
            return
        fi
    done
}

missing_packages() {
    if [[ -z $(postgres_bin) ]]; then echo postgresql; fi
    if ! command -v redis-server >/dev/null; then echo redis-server; fi
    if ! command -v nats-server >/dev/null; then echo nats-server; fi
}

# Installs what is missing on Debian and its kin, or says what to do.
install_missing() {
    local packages=() as_root=()
    mapfile -t packages < <(missing_packages)
    if ((${#packages[@]} == 0)); then return; fi
    if ((EUID != 0)); then as_root=(sudo -n); fi
    if command -v apt-get >/dev/null && "${as_root[@]}" true 2>/dev/null; then
        echo "installing ${packages[*]}" >&2
        "${as_root[@]}" apt-get update -qq >&2
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${packages[@]}" >&2
        hash -r
    fi
    mapfile -t packages < <(missing_packages)
    if ((${#packages[@]} == 0)); then return; fi
    cat >&2 <<TEXT
missing for the tests: ${packages[*]}
  Debian, Ubuntu:  sudo apt-get install ${packages[*]}
  macOS:           brew install postgresql@17 redis nats-server
TEXT
    exit 1
}

# PostgreSQL refuses to run as root.
as_server_user() {
    if ((EUID != 0)); then
        "$@"
    else
        setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --clear-groups "$@"
    fi
}

# Whether something listens on a port of 127.0.0.1.
listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Prints a port below the range that the system itself gives to outgoing connections.
free_port() {
    local port attempt
    for attempt in {1..100}; do
        port=$((20000 + (RANDOM * 32768 + RANDOM + attempt) % 12000))
        if ! listens "$port"; then
            echo "$port"
            return
        fi
    done
    echo "found no free port" >&2
    return 1
}

# wait_for NAME PORT PID LOG: until the server listens; fails with its log if it ends or takes over 30 s.
wait_for() {
    local name=$1 port=$2 pid=$3 log=$4 deadline=$((SECONDS + 30))
    until listens "$port"; do
        if ! kill -0 "$pid" 2>/dev/null || ((SECONDS > deadline)); then
            echo "$name did not start:" >&2
            tail -n 20 "$log" >&2
            return 1
        fi
        sleep 0.05
    done
}

stop_all() {
    local code=$?
    trap - EXIT
    if [[ -e $folder/data/postmaster.pid ]]; then
        as_server_user "$bin/pg_ctl" stop -D "$folder/data" -m immediate -s >&2 || true
    fi
    if ((${#pids[@]} > 0)); then
        kill "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    rm -rf "$folder"
    exit "$code"
}

install_missing
bin=$(postgres_bin)
server_user=nobody
if id postgres >/dev/null 2>&1; then server_user=postgres; fi

pids=()
folder=$(mktemp -d "${TMPDIR:-/tmp}/mercuriale-test.XXXXXX")
trap stop_all EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
chmod 711 "$folder"
mkdir -m 700 "$folder/data" "$folder/redis" "$folder/nats"

# --- PostgreSQL ---
password=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
(umask 077 && printf '%s' "$password" >"$folder/password")
if ((EUID == 0)); then chown "$server_user" "$folder/data" "$folder/password"; fi
cd_back=$PWD
cd "$folder" # the server's user may not be allowed to be where we are
as_server_user env LC_ALL=C "$bin/initdb" -D "$folder/data" -U postgres --pwfile="$folder/password" \
    --encoding=UTF8 --locale=C --auth=scram-sha-256 --no-sync >"$folder/initdb.log" ||
    { cat "$folder/initdb.log" >&2; exit 1; }
rm "$folder/password"
postgres_port=$(free_port)
as_server_user env LC_ALL=C "$bin/pg_ctl" start -D "$folder/data" -l "$folder/data/server.log" -w -s -t 60 \
    -o "-p $postgres_port -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
        -c max_connections=400 -c shared_buffers=256MB -c max_wal_size=2GB" ||
    { tail -n 20 "$folder/data/server.log" >&2; exit 1; }
cd "$cd_back"

# --- Redis and NATS ---
redis_port=$(free_port)
redis-server --bind 127.0.0.1 --port "$redis_port" --dir "$folder/redis" --save '' --appendonly no \
    >"$folder/redis.log" 2>&1 &
redis_pid=$!
pids+=("$redis_pid")
nats_port=$(free_port)
nats-server --addr 127.0.0.1 --port "$nats_port" --jetstream --store_dir "$folder/nats" \
    >"$folder/nats.log" 2>&1 &
nats_pid=$!
pids+=("$nats_pid")
wait_for Redis "$redis_port" "$redis_pid" "$folder/redis.log"
wait_for NATS "$nats_port" "$nats_pid" "$folder/nats.log"

export MERCURIALE_TEST_DATABASE_URL="postgres://postgres:$password@127.0.0.1:$postgres_port/postgres"
export MERCURIALE_TEST_REDIS_URL="redis://127.0.0.1:$redis_port"
export MERCURIALE_TEST_NATS_URL="nats://127.0.0.1:$nats_port"
"$@"
