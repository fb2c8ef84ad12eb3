#!/bin/bash
# The real tor takes every file in torrc-examples/ as it is, and our server the
# options in it; only paths are put into a temporary folder.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

# verify NAME: of a copy at $TMP/NAME.
verify()
{
	(umask 077 && mkdir -p "$TMP/data")
	tor --verify-config --defaults-torrc /dev/null -f "$TMP/$1" >"$TMP/log/$1" 2>&1
}

# server_takes NAME: the server starts with the options of that copy.
server_takes()
{
	local options

	ports 1
	options=$(sed -n 's/^ServerTransportOptions sultry //p' "$TMP/$1" |
		sed -E "s/ oob=[^ ]*/ oob=127.0.0.1:${PORTS[0]}/" |
		sed -E 's/:/\\:/g; s/(^| )/\1sultry:/g; s/ /;/g')
	start "server-$1" env TOR_PT_MANAGED_TRANSPORT_VER=1 TOR_PT_STATE_LOCATION="$TMP/state-$1" \
		TOR_PT_SERVER_TRANSPORTS=sultry TOR_PT_SERVER_BINDADDR=sultry-127.0.0.1:0 \
		TOR_PT_ORPORT=127.0.0.1:9 TOR_PT_SERVER_TRANSPORT_OPTIONS="$options" \
		"$BUILD/sultry-server"
	wait_line "server-$1" '^SMETHODS DONE' 10
	grep -q '^SMETHOD sultry ' "$TMP/log/server-$1" || fail "the server does not take $1"
	stop "server-$1"
}

need tor tor
[ -x "$BUILD/sultry-server" ] || fail "$BUILD/sultry-server is missing: run make first"

for file in torrc-examples/torrc.*; do
	name=${file##*/}
	sed -e "s|/usr/local/bin/|$BUILD/|g" -e "s|/var/lib/tor|$TMP/data|g" "$file" >"$TMP/$name"
	# The second line of a choice, commented out, has to be right as well.
	sed -E 's/^#([A-Z][A-Za-z]+ sultry )/\1/' "$TMP/$name" >"$TMP/$name.all"
	for copy in "$name" "$name.all"; do
		verify "$copy" || fail "tor does not take $file"
	done
	# The control: it would have complained.
	sed 's/^\(Bridge\|ServerTransportListenAddr\) sultry [0-9.]*/\1 sultry 192.0.2.300/' \
		"$TMP/$name" >"$TMP/$name.bad"
	if verify "$name.bad"; then
		fail "tor takes $file with a broken address"
	fi
	if grep -q '^BridgeRelay 1' "$file"; then
		server_takes "$name"
	fi
	step "$name"
done
