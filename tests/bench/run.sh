#!/bin/bash
# `make bench`: prints numbers and judges none of them. About a minute.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

need openssl openssl
make --no-print-directory BUILD="$BUILD" "$BUILD/tests/bench/core"
printf '%s, %s of %s\n%s\n\n' "$(uname -sr)" "$(nproc) cores" \
	"$(sed -n 's/^model name\t*: //p' /proc/cpuinfo | head -n 1)" \
	"$(git log -1 --format='commit %h' 2>/dev/null || true)"
"$BUILD/tests/bench/core"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
	-subj /CN=target.example -keyout "$TMP/key.pem" -out "$TMP/cert.pem" 2>/dev/null
python3 tests/bench/path.py "$BUILD" "$TMP"
