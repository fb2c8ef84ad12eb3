#!/bin/bash
# Sessions outlive their connections (chaos.py says how to run a part alone).
#
# SOAK_SECONDS: of the soak; `make soak` gives it ten minutes. JOBS: seeds side by side.
# They mostly wait, so that it is memory that bounds them: about 150 MB each.
set -eu
cd "$(dirname "$0")/../.."
. tests/e2e/lib.sh

SOAK_SECONDS=${SOAK_SECONDS:-30}
JOBS=${JOBS:-$(awk '/^MemAvailable/ { n = int($2 / 150000); print (n < 4 ? 4 : n > 24 ? 24 : n) }' \
	/proc/meminfo)}
export TMPDIR=$TMP BUILD

need python3 python3
need openssl openssl
need ip iproute2
need nsenter util-linux
need prlimit util-linux
for program in sultry-client sultry-server; do
	[ -x "$BUILD/$program" ] || fail "$program is missing: run make first"
done

chaos()
{
	step "$*"
	"${AS[@]}" python3 "$E2E/chaos.py" "$@" || fail "chaos.py $*" $?
}

AS=(in_netns)
if in_netns true 2>/dev/null; then
	chaos move --jobs 2
else
	step "left out, since this user may make no network namespaces: chaos.py move"
fi
AS=()
# The one that does nothing for longest comes first: the others fit into its time.
chaos idle kill stall blocked failover echo named --jobs 6
chaos seeds "${SEEDS:-1-100}" --jobs "$JOBS"
chaos soak --seconds "$SOAK_SECONDS"
step "passed"
