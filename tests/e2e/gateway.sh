#!/bin/bash
# Sultry's API behind real web servers: the nginx of torrc-examples/torrc.bridge-behind-cdn,
# read out of that file, and HAProxy, once as the CDN in front of it and once as a gateway
# of its own.
#
#	cdn      hop -> HAProxy (as a CDN) -> public port -> nginx -> API
#	sni      hop -> public port -> nginx -> API (nobody knows the client's address)
#	nginx    hop -> nginx -> API
#	haproxy  hop -> HAProxy -> API
#
# and from each of them data, direct: hop -> public port -> target. The hops dial from
# addresses of their own, so it shows whom the Extended ORPort is told of. The target is
# the same nginx, as a web site that takes uploads.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

EXAMPLE=torrc-examples/torrc.bridge-behind-cdn
HOST=www.example.com
FRONT=cdn.example.net
TARGET=target.example
MEGABYTES=4

# certificate NAME HOST: $TMP/NAME.{crt,key,pem}.
certificate()
{
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
		-subj "/CN=$2" -addext "subjectAltName=DNS:$2" \
		-keyout "$TMP/$1.key" -out "$TMP/$1.crt" 2>/dev/null
	cat "$TMP/$1.crt" "$TMP/$1.key" >"$TMP/$1.pem"
}

# pin NAME: of that certificate, as a bridge line has it.
pin()
{
	openssl x509 -in "$TMP/$1.crt" -noout -pubkey | openssl pkey -pubin -outform der |
		openssl dgst -sha256 -binary | base64 | tr '+/' '-_' | tr -d '='
}

# hop NAME UPSTREAM FROM: sets HOP to its address.
hop()
{
	start "$1" python3 "$E2E/hop.py" --record "$TMP/$1" --upstream "$2" --bind "$3"
	wait_line "$1" '^listening ' 20
	HOP=$(first_match "$1" 's/^listening //')
}

# The server block of the example, with the paths and ports of this test.
example_nginx()
{
	sed -n 's/^#\t//; /^server {/,/^}/p' "$EXAMPLE" | sed -e "s|127.0.0.1:8443|$NGINX|" \
		-e "s|https://127.0.0.1:8444/|https://$API/|" -e "s|/var/www/html|$TMP/www|" \
		-e "s|/etc/ssl/example/fullchain.pem|$TMP/site.crt|" \
		-e "s|/etc/ssl/example/privkey.pem|$TMP/site.key|" \
		-e "s|access_log off|access_log $TMP/log/nginx-access seen|"
}

nginx_conf()
{
	local kind

	echo "daemon off; master_process off; error_log stderr notice;"
	echo "pid $TMP/nginx.pid; events { worker_connections 512; } http {"
	for kind in client_body proxy fastcgi uwsgi scgi; do
		echo "${kind}_temp_path $TMP/nginx-$kind;"
	done
	# shellcheck disable=SC2016 # nginx's variables
	echo 'log_format seen "$server_port sni=$ssl_server_name host=$http_host $uri $status";'
	echo "access_log off; ssl_protocols TLSv1.2 TLSv1.3;"
	example_nginx
	# And where nginx has the public port itself, as the text below the block says.
	example_nginx | sed -e "s|listen $NGINX|listen $NGINX_FIRST|" \
		-e 's|\$http_x_forwarded_for|$proxy_add_x_forwarded_for|'
	cat <<-END
		server {
			listen $SITE ssl;
			server_name $TARGET;
			ssl_certificate $TMP/target.crt;
			ssl_certificate_key $TMP/target.key;
			root $TMP/target;
			dav_methods PUT;
			client_max_body_size 0;
		}}
	END
}

haproxy_cfg()
{
	cat <<-END
		global
			log stdout format raw local0
		defaults
			mode http
			log global
			option forwardfor
			timeout connect 5s
			timeout client 60s
			timeout server 90s
			log-format "%f sni=%[ssl_fc_sni] host=%[var(txn.host)] %HU %ST"
		frontend cdn
			bind $CDN ssl crt $TMP/cdn.pem
			http-request set-var(txn.host) req.hdr(host)
			http-request deny deny_status 403 unless { req.hdr(host) $HOST }
			default_backend bridge
		backend bridge
			server bridge $PUBLIC ssl verify none sni str($HOST)
		frontend gateway
			bind $GATEWAY ssl crt $TMP/cdn.pem
			http-request set-var(txn.host) req.hdr(host)
			http-request deny deny_status 404 unless { path_beg /shop/ } METH_POST
			http-request replace-path /shop(/.*) \1
			default_backend api
		backend api
			http-reuse safe
			server api $API ssl verify none
	END
}

start_bridge()
{
	local options

	options=$(sed -n 's/^ServerTransportOptions sultry //p' "$EXAMPLE" |
		sed -E "s|fallback=[^ ]*|fallback=$NGINX|; s|oob=[^ ]*|oob=$API|" |
		sed -E 's/:/\\:/g; s/(^| )/\1sultry:/g; s/ /;/g')
	start bridge env TOR_PT_MANAGED_TRANSPORT_VER=1 TOR_PT_SERVER_TRANSPORTS=sultry \
		TOR_PT_EXTENDED_SERVER_PORT="$EXT_ORPORT" TOR_PT_AUTH_COOKIE_FILE="$TMP/cookie" \
		TOR_PT_STATE_LOCATION="$TMP/bridge" TOR_PT_SERVER_BINDADDR="sultry-$PUBLIC" \
		TOR_PT_SERVER_TRANSPORT_OPTIONS="$options" "$BUILD/sultry-server"
	wait_line bridge '^SMETHODS DONE' 20
	ARGS=$(first_match bridge 's/^SMETHOD sultry [^ ]+ ARGS:(.*)/\1/' | tr , ';')
	[[ $ARGS == *";url=https://$HOST/shop" ]] || fail "the bridge line has no url: $ARGS"
	KEY=${ARGS%%;*}
}

encode()
{
	printf %s "$1" | sed 's|%|%25|g; s|:|%3A|g; s|/|%2F|g; s|@|%40|g'
}

# through ARGUMENTS PORT CURL-ARGUMENT...: by Sultry to the target, whose direct port is PORT.
through()
{
	local args=$1 port=$2

	shift 2
	curl -sS -f -m 25 --cacert "$TMP/target.crt" --resolve "$TARGET:$port:127.0.0.1" \
		--proxy "socks5://$(encode "${args:0:200}"):$(encode "${args:200}")@$SOCKS" "$@"
}

# transfer ARGUMENTS PORT CURL-ARGUMENT...: megabytes down, then up.
transfer()
{
	local args=$1 port=$2 url=https://$TARGET:$2

	shift 2
	through "$args" "$port" "$@" "$url/big" | cmp - "$TMP/target/big" || fail "down: $args"
	through "$args" "$port" "$@" -T "$TMP/target/big" "$url/up" || fail "up: $args"
	cmp "$TMP/target/big" "$TMP/target/up" || fail "up: $args"
	rm "$TMP/target/up"
}

# mark: what the logs say from now on is new.
declare -A MARK=()
mark()
{
	local log

	for log in ext_orport nginx-access haproxy; do
		MARK[$log]=$(wc -l <"$TMP/log/$log")
	done
}

# says LOG REGEX: a new line of that log does.
says()
{
	tail -n "+$((MARK[$1] + 1))" "$TMP/log/$1" | grep -Eq -- "$2"
}

# way NAME ADDRESS LOG REGEX ARGUMENTS: the target is reached with these arguments, the
# Extended ORPort is told of ADDRESS, and the gateway's log names what was asked for.
way()
{
	local name=$1 address=$2 log=$3 seen=$4 args=$5

	mark
	[ "$(through "$args" "$DIRECT_PORT" "https://$TARGET:$DIRECT_PORT/")" = target ] ||
		fail "$name: another page"
	wait_for 5 "$name: the bridge tells of $address" says ext_orport "^client $address sultry\$"
	wait_for 5 "$name: the gateway sees $seen" says "$log" "^$seen"
	step "$name: the client is $address, the gateway saw $seen"
}

# The reply, without what changes from one to the next.
reply()
{
	curl -sS -k -i -m 10 --resolve "$HOST:${PUBLIC##*:}:127.0.0.1" "$@" | grep -v '^Date: '
}

check_strangers()
{
	local at=https://$HOST:${PUBLIC##*:} base

	reply "$at/" | grep -qx 'the web site' || fail "strangers do not get the web site"
	reply "$at/missing" >"$TMP/missing"
	grep -q '^HTTP/1.1 404' "$TMP/missing" || fail "no 404"
	base=$(sed -n 's|.* /shop\(/[^/ ]*\) 200|\1|p' "$TMP/log/nginx-access" | head -n 1)
	[ -n "$base" ] || fail "the API's path is not in nginx's log"
	for path in /shop/ /shop/missing "/shop$base" "/shop$base/AAAAAAAAAAAAAAAAAAAAAA"; do
		reply "$at$path" | cmp - "$TMP/missing" || fail "GET $path tells"
		reply -d '{}' "$at$path" | cmp - "$TMP/missing" || fail "POST $path tells"
	done
	step "strangers get the web site, and its 404 for the API's paths too"
}

need nginx nginx-light
need haproxy haproxy
need curl curl
need openssl openssl

ports 8
A=127.0.0.1
PUBLIC=$A:${PORTS[0]} API=$A:${PORTS[1]} NGINX=$A:${PORTS[2]} NGINX_FIRST=$A:${PORTS[3]}
SITE=$A:${PORTS[4]} CDN=$A:${PORTS[5]} GATEWAY=$A:${PORTS[6]} CLOSED=${PORTS[7]}
certificate site "$HOST"
certificate cdn "$FRONT"
certificate target "$TARGET"
mkdir "$TMP/www" "$TMP/target"
echo "the web site" >"$TMP/www/index.html"
echo "target" >"$TMP/target/index.html"
head -c "$((MEGABYTES * 1000000))" /dev/urandom >"$TMP/target/big"
nginx_conf >"$TMP/nginx.conf"
haproxy_cfg >"$TMP/haproxy.cfg"

start ext_orport python3 "$E2E/ext_orport.py" --cookie "$TMP/cookie" --upstream "$SITE"
wait_line ext_orport '^listening ' 20
EXT_ORPORT=$(first_match ext_orport 's/^listening //')
start_bridge
start nginx nginx -e stderr -p "$TMP" -c "$TMP/nginx.conf"
start haproxy haproxy -db -f "$TMP/haproxy.cfg"
start client env TOR_PT_MANAGED_TRANSPORT_VER=1 TOR_PT_CLIENT_TRANSPORTS=sultry \
	"$BUILD/sultry-client"
wait_line client '^CMETHODS DONE' 20
SOCKS=$(first_match client 's/^CMETHOD sultry socks5 //')
for port in "$SITE" "$CDN" "$GATEWAY"; do
	wait_for 10 "$port listens" curl -sk -o "$TMP/page" "https://$port/"
done

hop direct "$PUBLIC" 127.0.0.2
DIRECT=$HOP DIRECT_PORT=${HOP##*:}
hop hop-cdn "$CDN" 127.0.0.3
CDN_ARGS="$ARGS;pin=$(pin cdn);addr=$HOP"
way cdn 127.0.0.3:1 haproxy "cdn sni=$HOST host=$HOST /shop/" "$CDN_ARGS"
way front 127.0.0.3:1 haproxy "cdn sni=$FRONT host=$HOST /shop/" "$CDN_ARGS;front=$FRONT"
way sni - nginx-access "${NGINX##*:} sni=$HOST host=$DIRECT /shop/" \
	"$KEY;url=https://$DIRECT/shop;pin=$(pin site);sni=$HOST"
hop hop-nginx "$NGINX_FIRST" 127.0.0.4
way nginx 127.0.0.4:1 nginx-access "${NGINX_FIRST##*:} sni=- host=$HOP /shop/" \
	"$KEY;url=https://$HOP/shop;pin=$(pin site)"
hop hop-haproxy "$GATEWAY" 127.0.0.5
HAPROXY_ARGS="$ARGS;pin=$(pin cdn);addr=$HOP"
way haproxy 127.0.0.5:1 haproxy "gateway sni=$HOST host=$HOST /shop/" "$HAPROXY_ARGS"

transfer "$CDN_ARGS" "$DIRECT_PORT" --tlsv1.3
transfer "$CDN_ARGS" "$DIRECT_PORT" --tls-max 1.2
step "$MEGABYTES MB down and up, TLS 1.3 and 1.2, handshakes by the CDN"
python3 "$E2E/wire.py" direct "$TMP/direct" --absent "$TARGET" \
	--least-down "$((2 * MEGABYTES * 1000000))" || fail "wire"
transfer "$CDN_ARGS" "$CLOSED" --tlsv1.3
transfer "$HAPROXY_ARGS" "$CLOSED" --tls-max 1.2
step "$MEGABYTES MB down and up without direct connections, all by the gateways"
check_strangers
step "passed"
