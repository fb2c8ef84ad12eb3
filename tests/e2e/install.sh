#!/bin/bash
# make install: both programs, where PREFIX and DESTDIR say, and nothing else.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

make -s install BUILD="$BUILD" DESTDIR="$TMP/stage" PREFIX=/opt/sultry
got=$(cd "$TMP/stage" && find . -type f -perm 755 | sort | tr '\n' ' ')
[ "$got" = "./opt/sultry/bin/sultry-client ./opt/sultry/bin/sultry-server " ] || fail "installed: $got"
[ "$(find "$TMP/stage" -type f | wc -l)" = 2 ] || fail "more than two files were installed"
for program in client server; do
	"$TMP/stage/opt/sultry/bin/sultry-$program" --version | grep -q "^sultry-$program [0-9.]*$" ||
		fail "sultry-$program --version"
done
step "passed"
