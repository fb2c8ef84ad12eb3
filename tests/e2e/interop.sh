#!/bin/bash
# A client that was written from spec/protocol.md alone against the real server: whether the two
# speak the same protocol, byte by byte.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

need python3 python3
need openssl openssl
python3 -c 'import cryptography' 2>/dev/null || fail "install the package python3-cryptography"
[ -x "$BUILD/sultry-server" ] || fail "$BUILD/sultry-server is missing: run make first"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
	-subj /CN=target.example.net -keyout "$TMP/target.key" -out "$TMP/target.crt" 2>/dev/null
python3 "$E2E/interop.py" "$BUILD/sultry-server" spec "$TMP" || fail "the two do not interoperate"
step "passed"
