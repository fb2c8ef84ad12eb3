#!/bin/bash
# What spec/ holds for machines: the vectors, computed a second time without our code, and the
# OpenAPI file. (interop.sh holds both against the real server.)
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

need_python cryptography jsonschema yaml
(cd spec/vectors && "$PYTHON" check.py) || fail "the vectors are wrong"
step "direct.json"
"$PYTHON" "$E2E/openapi.py" spec/oob-api.yaml || fail "oob-api.yaml is wrong"
step "oob-api.yaml"
