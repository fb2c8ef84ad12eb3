#!/bin/bash
# A client that was written from spec/protocol.md alone against the real server: whether the two
# speak the same protocol, byte by byte.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

need openssl openssl
need_python cryptography jsonschema yaml
[ -x "$BUILD/sultry-server" ] || fail "$BUILD/sultry-server is missing: run make first"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
	-subj /CN=target.example.net -keyout "$TMP/target.key" -out "$TMP/target.crt" 2>/dev/null
"$PYTHON" "$E2E/interop.py" "$BUILD/sultry-server" spec "$TMP" || fail "the two do not interoperate"
step "passed"
