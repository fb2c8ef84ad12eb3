#!/bin/bash
# A stock tor keeps its circuits and a download while a censor resets its direct
# connection every few seconds.
#
#	client -> chaos.py resets -> bridge's public port
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh
. tests/e2e/tornet.sh

SECONDS_EACH=3        # between two resets
MEGABYTES=30
RATE=1M               # of the download, so that it lasts through many resets
LEAST_RESETS=5

# control COMMAND...: what tor's control port of the client answers to each.
control()
{
	python3 "$E2E/chaos_control.py" "$TMP/client/control" "$@"
}

# The circuits that are built, by their numbers.
built()
{
	control "GETINFO circuit-status" | awk '$2 == "BUILT" { print $1 }' | sort -n
}

need python3 python3
need curl curl
for program in sultry-client sultry-server; do
	[ -x "$BUILD/$program" ] || fail "$program is missing: run make first"
done

mkdir "$TMP/www"
head -c "$((MEGABYTES * 1000000))" /dev/urandom >"$TMP/www/big"
start web python3 -u -m http.server 0 --bind 127.0.0.1 --directory "$TMP/www"
wait_line web '^Serving HTTP' 20
web=$(first_match web 's/.* port ([0-9]+) .*/\1/')

tornet_start
step "the network has a consensus"
ports 2
public=127.0.0.1:${PORTS[1]}
tornet_bridge bridge "ORPort 127.0.0.1:${PORTS[0]}" \
	"ServerTransportPlugin sultry exec $BUILD/sultry-server" \
	"ServerTransportListenAddr sultry $public"
step "the bridge is up"
start hop python3 "$E2E/chaos.py" resets "$public" --seconds "$SECONDS_EACH"
wait_line hop '^listening ' 20
hop=$(first_match hop 's/^listening //')
line=$(sed -nE "/^Bridge /s/<IP ADDRESS>:<PORT> <FINGERPRINT>/$hop $(tornet_fingerprint bridge)/p" \
	"$TMP/bridge/pt_state/sultry_bridgeline.txt" | head -n 1)
# The second connection of a client is tor's own choice; it is not what is tested.
tornet_client client "ClientTransportPlugin sultry exec $BUILD/sultry-client" "$line redial=0" \
	"ControlSocket $TMP/client/control"
wait_line client 'Bootstrapped 100%' 60
step "Bootstrapped 100%"

curl -sS -f -m 120 --limit-rate "$RATE" --socks5-hostname "127.0.0.1:${SOCKS[client]}" \
	-o "$TMP/got" "http://127.0.0.1:$web/big" &
download=$!
wait_for 30 "the download has begun" test -s "$TMP/got"
before=$(built)
[ -n "$before" ] || fail "there are no circuits"
resets=$(grep -c '^reset' "$TMP/log/hop" || true)
wait "$download" || fail "the download broke"
cmp "$TMP/www/big" "$TMP/got" || fail "the download came wrong"
after=$(built)
resets=$(($(grep -c '^reset' "$TMP/log/hop") - resets))
step "$MEGABYTES MB came through, while $resets direct connections were reset"
[ "$resets" -ge "$LEAST_RESETS" ] || fail "only $resets resets"
lost=$(comm -23 <(sort <<<"$before") <(sort <<<"$after"))
[ -z "$lost" ] || fail "circuits were lost: $lost"
[ "$(grep -c 'Bootstrapped 100%' "$TMP/log/client")" = 1 ] || fail "tor bootstrapped again"
step "no circuit was lost ($(wc -l <<<"$before") were built)"
step "passed"
