#!/bin/bash
# `make demo`: fetches a page over plain TLS and through Sultry, and shows what a censor
# would have read on the path either time. A TLS web site stands where tor's ORPort would.
set -eu
cd "$(dirname "$0")/.."
. tests/e2e/lib.sh

SITE=site.example

need curl curl
need openssl openssl

mkdir "$TMP/www"
cat >"$TMP/www/index.html" <<'EOF'
<!DOCTYPE html><title>It works</title><h1>This page came through Sultry.</h1>
EOF
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
	-subj "/CN=$SITE" -addext "subjectAltName=DNS:$SITE" \
	-keyout "$TMP/site.key" -out "$TMP/site.crt" 2>/dev/null
start site python3 -u tests/https_site.py "$TMP/www" "$TMP/site.crt" "$TMP/site.key"
wait_line site '^listening ' 20
site=$(first_match site 's/^listening //')

export TOR_PT_MANAGED_TRANSPORT_VER=1
start bridge env TOR_PT_SERVER_TRANSPORTS=sultry TOR_PT_ORPORT="$site" \
	TOR_PT_STATE_LOCATION="$TMP/bridge" TOR_PT_SERVER_BINDADDR=sultry-127.0.0.1:0 \
	"$BUILD/sultry-server"
wait_line bridge '^SMETHODS DONE' 20
bridge=$(first_match bridge 's/^SMETHOD sultry ([^ ]+) .*/\1/')
args=$(first_match bridge 's/^SMETHOD sultry [^ ]+ ARGS:(.*)/\1/' | tr , ';')
start client env TOR_PT_CLIENT_TRANSPORTS=sultry "$BUILD/sultry-client"
wait_line client '^CMETHODS DONE' 20
socks=$(first_match client 's/^CMETHOD sultry socks5 //')

# The censor's place on either path.
start plain_path python3 tests/e2e/hop.py --record "$TMP/plain" --upstream "$site"
start sultry_path python3 tests/e2e/hop.py --record "$TMP/sultry" --upstream "$bridge"
wait_line plain_path '^listening ' 20
wait_line sultry_path '^listening ' 20
plain_hop=$(first_match plain_path 's/^listening //')
sultry_hop=$(first_match sultry_path 's/^listening //')

# The arguments of the bridge line go where SOCKS has user name and password.
fetch()
{
	curl -sS -f -m 20 --cacert "$TMP/site.crt" "$@"
}

fetch --resolve "$SITE:${plain_hop##*:}:127.0.0.1" "https://$SITE:${plain_hop##*:}/" >"$TMP/1"
fetch --resolve "$SITE:${sultry_hop##*:}:127.0.0.1" --socks5 "$socks" \
	--proxy-user "${args%%;pin=*};pin:=${args##*;pin=}" "https://$SITE:${sultry_hop##*:}/" >"$TMP/2"
cmp "$TMP/www/index.html" "$TMP/1"
cmp "$TMP/www/index.html" "$TMP/2"

echo
echo "curl fetched https://$SITE/ twice; what it got is the same:"
sed 's/^/    /' "$TMP/2"
echo
python3 tests/demo.py "$TMP/plain" "$TMP/sultry" "$SITE"
