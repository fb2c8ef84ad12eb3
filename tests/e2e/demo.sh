#!/bin/bash
# What `make demo` prints: the page, and beside a handshake that names the site a path on which
# there is none.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

# says FILE REGEX: of what the demo said.
says()
{
	grep -Eq -e "$2" "$TMP/$1" || fail "the demo does not show, $1: $2"
}

BUILD=$BUILD tests/demo.sh >"$TMP/all" || fail "the demo failed"
sed -nE 's/^(.*[^ ]) +\| .*/\1/p' "$TMP/all" >"$TMP/left"
sed -nE 's/^.* \| (.*)/\1/p' "$TMP/all" >"$TMP/right"

says all '^    .*This page came through Sultry\.'
says left '^PLAIN TLS$'
says left '^first bytes up: 16 03 01 '
says left '^-> ClientHello, SNI site\.example '
says left '^<- ServerHello '
says right '^SULTRY, the direct connection$'
says right '^first bytes up: 17 03 03 '
says right '^-> application_data '
says right '^<- application_data '
if grep -E '^(->|<-)' "$TMP/right" | grep -v ' application_data '; then
	fail "there is more than application data on Sultry's direct connection"
fi
if grep -F site.example "$TMP/right"; then
	fail "the site's name is on Sultry's side"
fi
step "passed"
