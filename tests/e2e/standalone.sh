#!/bin/bash
# The standalone proxy and relay (issue 4) with real programs: curl, openssl, git, ssh, Chromium,
# nginx and HAProxy, in network namespaces with a DNS server of their own. Needs user
# namespaces. Words select tests (tests/e2e/standalone.sh browser).
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

need unshare util-linux
need ip iproute2
need python3 python3
need curl curl
need openssl openssl
need git git
need ssh openssh-client
need dropbear dropbear-bin
need nginx nginx-light
need haproxy haproxy
need chromium chromium
for program in "$BUILD/sultry-client" "$BUILD/sultry-server"; do
	[ -x "$program" ] || fail "$program is missing: run make first"
done
export BUILD
in_netns python3 -u "$E2E/standalone.py" "$@" || fail "see above"
step "passed"
