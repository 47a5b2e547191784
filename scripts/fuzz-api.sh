#!/bin/sh
# Sends what the API's description allows, and what it does not, to a service of its own, and checks every answer against
# the description: schemathesis, from PyPI. Arguments are passed on to it.
set -eu
cd "$(dirname "$0")/.."

venv=target/schemathesis
if ! [ -x "$venv/bin/schemathesis" ]; then
	python3 -m venv "$venv"
	"$venv/bin/pip" install --quiet 'schemathesis>=4.32,<5'
fi
cargo build --locked

folder=$(mktemp -d)
service=
stop() {
	if [ -n "$service" ]; then
		kill "$service" 2>/dev/null || true
		wait "$service" || true
	fi
	rm -rf "$folder"
}
trap stop EXIT
trap 'exit 130' INT TERM

unset DATABASE_URL REDIS_URL NATS_URL
export MERCURIALE_DATA_DIR="$folder/data" MERCURIALE_LISTEN=127.0.0.1:0 MERCURIALE_RATE_LIMIT=0
token=$(target/debug/mercuriale token issue --role admin --tenant fuzz --expires 1d)
target/debug/mercuriale serve >"$folder/log" &
service=$!
until url=$(sed -n 's/^Mercuriale serves //p' "$folder/log") && [ -n "$url" ]; do
	kill -0 "$service" 2>/dev/null || { cat "$folder/log" >&2; exit 1; }
	sleep 0.2
done

# A stream has no end to wait for.
cd target
schemathesis/bin/schemathesis --config-file ../scripts/schemathesis.toml run "$url/openapi.json" \
	--header "Authorization: Bearer $token" --checks all --exclude-path /v1/events/stream "$@"
