#!/bin/bash
# A real sultry-server against clients that break the rules (server.py says which).
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

need nginx nginx-light
need openssl openssl
need prlimit util-linux
[ -x "$BUILD/sultry-server" ] || fail "$BUILD/sultry-server is missing: run make first"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
	-subj /CN=www.example.net -keyout "$TMP/web.key" -out "$TMP/web.crt" 2>/dev/null
ports 2
cat >"$TMP/nginx.conf" <<CONF
daemon off;
pid $TMP/nginx.pid;
error_log $TMP/log/nginx-errors;
events { }
http {
	access_log off;
	client_body_temp_path $TMP/nginx-body;
	proxy_temp_path $TMP/nginx-proxy;
	fastcgi_temp_path $TMP/nginx-fastcgi;
	uwsgi_temp_path $TMP/nginx-uwsgi;
	scgi_temp_path $TMP/nginx-scgi;
	server {
		listen 127.0.0.1:${PORTS[0]} ssl;
		ssl_certificate $TMP/web.crt;
		ssl_certificate_key $TMP/web.key;
		return 200 "hello\n";
	}
}
CONF
start nginx nginx -p "$TMP" -e "$TMP/log/nginx-errors" -c "$TMP/nginx.conf"
wait_for 20 "nginx listens" bash -c "exec 3<>/dev/tcp/127.0.0.1/${PORTS[0]}" 2>/dev/null
python3 "$E2E/server.py" "$BUILD" "${PORTS[0]}" "${PORTS[1]}" "$@" || fail "server.py"
