#!/bin/bash
# Tor through Sultry, whole: a private Tor network, a bridge, clients, files
# through the exit, and what was seen on the wire meanwhile.
#
#	client ---------------> hop (records) -> bridge's public port
#	viewed - HTTPS -> hop (reads the plaintext) ---^
#	raw    ---------------> hop (records) -> bridge's ORPort, no transport
#
# "viewed" reaches the same bridge, its OOB channel through a hop that ends its
# TLS as a CDN would. "raw" is the control: the wire checks must fail on it.
#
# TRANSPORT, CLIENT and SERVER put another transport in the place of ours,
# SERVER_OPTIONS and BRIDGE_ARGS are added to the bridge's and the client's
# line; of another transport the claims about the wire are not checked.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh
. tests/e2e/tornet.sh

TRANSPORT=${TRANSPORT:-sultry}
CLIENT=${CLIENT:-$BUILD/sultry-client}
SERVER=${SERVER:-$BUILD/sultry-server}
MEGABYTES=20
STREAMS=4
# Addresses that the hops dial from: what the bridge must take for its clients'.
SEEN=127.0.0.2
SEEN_RAW=127.0.0.3

# hop NAME ARGUMENT...: starts a hop, sets HOP to its address.
hop()
{
	local name=$1

	shift
	start "$name" python3 "$E2E/hop.py" --record "$TMP/$name" "$@"
	wait_line "$name" '^listening ' 20
	HOP=$(first_match "$name" 's/^listening //')
}

start_client()
{
	tornet_client "$1" "ClientTransportPlugin $TRANSPORT exec $CLIENT" "$2"
}

# fetch CLIENT FILE: through an exit of the network; true if it is whole.
fetch()
{
	local sum

	sum=$(curl -sS -f -m 100 --socks5-hostname "127.0.0.1:${SOCKS[$1]}" \
		"http://127.0.0.1:$WEB/$2" | sha256sum) &&
		[ "$sum" = "$(sha256sum <"$TMP/www/$2")" ]
}

make_certificate()
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
		-subj /CN=cdn.example.net -keyout "$TMP/hop.key" -out "$TMP/hop.crt" 2>/dev/null
	PIN=$(openssl x509 -in "$TMP/hop.crt" -noout -pubkey | openssl pkey -pubin -outform der |
		openssl dgst -sha256 -binary | base64 | tr '+/' '-_' | tr -d '=')
}

make_files()
{
	mkdir "$TMP/www"
	head -c "$((MEGABYTES * 1000000))" /dev/urandom >"$TMP/www/big"
	head -c 1000000 /dev/urandom >"$TMP/www/small"
	start web python3 -u -m http.server 0 --bind 127.0.0.1 --directory "$TMP/www"
	wait_line web '^Serving HTTP' 20
	WEB=$(first_match web 's/.* port ([0-9]+) .*/\1/')
}

start_bridge()
{
	ports 2
	ORPORT=127.0.0.1:${PORTS[0]} PUBLIC=127.0.0.1:${PORTS[1]}
	tornet_bridge bridge "ORPort $ORPORT" "ServerTransportPlugin $TRANSPORT exec $SERVER" \
		"ServerTransportListenAddr $TRANSPORT $PUBLIC" \
		${SERVER_OPTIONS:+"ServerTransportOptions $TRANSPORT $SERVER_OPTIONS"} \
		"Log [general]debug file $TMP/log/bridge-debug"
	FINGERPRINT=$(tornet_fingerprint bridge)
}

# bridge_line ADDRESS:PORT: the line that the bridge wrote, filled in as its
# operator would.
bridge_line()
{
	sed -nE "/^Bridge /s/<IP ADDRESS>:<PORT> <FINGERPRINT>/$1 $FINGERPRINT/p" \
		"$TMP/bridge/pt_state/${TRANSPORT}_bridgeline.txt" | head -n 1 |
		sed "s|\$|${BRIDGE_ARGS:+ $BRIDGE_ARGS}|"
}

# Tor's own word on what the Extended ORPort was told. The second line is the
# control: a client without the transport is seen as one.
check_ext_orport()
{
	wait_for 10 "the bridge saw a client by $TRANSPORT from $SEEN" \
		grep -qF "Seen client from '$SEEN' with transport '$TRANSPORT'." "$TMP/log/bridge-debug"
	wait_for 10 "the bridge saw a client without transport from $SEEN_RAW" \
		grep -qF "Seen client from '$SEEN_RAW' with transport '<no transport>'." \
		"$TMP/log/bridge-debug"
	if grep -F "Seen client" "$TMP/log/bridge-debug" | grep -vF -e "'$SEEN'" -e "'$SEEN_RAW'"; then
		fail "the bridge saw a client at another address"
	fi
}

check_parallel()
{
	local i pids=()

	for ((i = 0; i < STREAMS; i++)); do
		fetch client big &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || fail "a parallel stream came wrong"
	done
}

check_wire()
{
	step "wire: the control, Tor without a transport"
	python3 "$E2E/wire.py" raw-tor "$TMP/hop-raw" || fail "the wire checks are blind"
	[ "$TRANSPORT" = sultry ] || return 0
	step "wire: in front of the bridge"
	python3 "$E2E/wire.py" direct "$TMP/hop-direct" --absent 127.0.0.1 --absent "$FINGERPRINT" \
		--least-down "$((MEGABYTES * 1000000 * (1 + STREAMS)))" || fail "direct"
	step "wire: inside the OOB channel"
	python3 "$E2E/wire.py" oob "$TMP/hop-oob" --absent 127.0.0.1 --absent "$FINGERPRINT" ||
		fail "oob"
}

need python3 python3
need curl curl
need openssl openssl
for program in "$CLIENT" "$SERVER"; do
	[ -x "$program" ] || fail "$program is missing: run make first"
done

make_files
tornet_start
step "the network has a consensus"
start_bridge
step "the bridge is up"

clients="client raw"
hop hop-direct --upstream "$PUBLIC" --bind "$SEEN"
start_client client "$(bridge_line "$HOP")"
if [ "$TRANSPORT" = sultry ]; then
	address=$HOP
	make_certificate
	hop hop-oob --upstream "$PUBLIC" --bind "$SEEN" --cert "$TMP/hop.crt" --key "$TMP/hop.key"
	start_client viewed "$(bridge_line "$address" |
		sed -E "s/ pin=[^ ]*//; s|\$| url=https://$HOP/ pin=$PIN|")"
	clients="$clients viewed"
fi
hop hop-raw --upstream "$ORPORT" --bind "$SEEN_RAW"
start_client raw "Bridge $HOP $FINGERPRINT"

for name in $clients; do
	wait_line "$name" 'Bootstrapped 100%' 60
	step "$name: Bootstrapped 100%"
done
for name in $clients; do
	wait_for 30 "a file through an exit ($name)" fetch "$name" small
done
step "a file of 1 MB came through an exit to each client"
check_ext_orport
step "the bridge knows transport and address of its clients"
fetch client big || fail "the file of $MEGABYTES MB came wrong"
step "$MEGABYTES MB came through"
check_parallel
step "$STREAMS times $MEGABYTES MB came through at once"
for name in $clients; do
	stop "$name"
done
check_wire
step "passed"
