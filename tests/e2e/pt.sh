#!/bin/bash
# Both programs under a PT parent written for the test: environment, pipes, signals,
# SOCKS, proxies, source addresses, Extended ORPort, and the bytes themselves. Needs to be root,
# or user namespaces. Words select tests (tests/e2e/pt.sh proxy).
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

need unshare util-linux
need ip iproute2
need python3 python3
need openssl openssl
for program in "$BUILD/sultry-client" "$BUILD/sultry-server"; do
	[ -x "$program" ] || fail "$program is missing: run make first"
done
export BUILD
in_netns python3 -u "$E2E/pt_parent.py" "$@" || fail "see above"
step "passed"
