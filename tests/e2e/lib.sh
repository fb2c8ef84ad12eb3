# shellcheck shell=bash
# What every end-to-end test shares; to be sourced by bash under `set -eu`.
#
# It makes one temporary folder, starts processes in the background and ends
# exactly those when the test ends, in whatever way. KEEP=1 keeps the folder.

BUILD=$(realpath -m "${BUILD:-build}")
E2E=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TMP=$(mktemp -d "${TMPDIR:-/tmp}/sultry-e2e.XXXXXX")
mkdir "$TMP/log"
declare -A PIDS=()
export E2E TMP PYTHONDONTWRITEBYTECODE=1
# Nothing of the developer's own proxy settings may bend a test.
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY

step()
{
	printf '%4ds  %s\n' "$SECONDS" "$*"
}

# fail TEXT [STATUS]
fail()
{
	FAILURE=$1
	printf 'FAIL: %s\n' "$FAILURE" >&2
	exit "${2:-1}"
}

# need PROGRAM PACKAGE: a missing program is a failure, never a skip.
need()
{
	command -v "$1" >/dev/null || fail "$1 is missing: install the package $2"
}

# need_python MODULE...: sets PYTHON to one that has them. Debian's packages (python3-MODULE)
# are for Debian's, which need not be the first in PATH.
need_python()
{
	local modules

	modules=$(IFS=,; echo "$*")
	for PYTHON in python3 /usr/bin/python3; do
		if "$PYTHON" -c "import $modules" 2>/dev/null; then
			return
		fi
	done
	fail "python3 has not all of: $*; install the packages python3-MODULE"
}

# in_netns COMMAND...: runs it in a network namespace of its own. Those are root's, or of a user
# who may be root of his own.
in_netns()
{
	local user=()

	[ "$(id -u)" = 0 ] || user=(--user --map-root-user)
	unshare "${user[@]}" --net "$@"
}

# start NAME COMMAND...: runs it in the background, output in $TMP/log/NAME.
start()
{
	local name=$1

	! running "$name" || fail "$name runs already"
	shift
	"$@" >"$TMP/log/$name" 2>&1 </dev/null &
	PIDS[$name]=$!
}

running()
{
	[ -n "${PIDS[$1]:-}" ] && kill -0 "${PIDS[$1]}" 2>/dev/null
}

# stop NAME: SIGTERM, 10 s to obey, SIGKILL.
stop()
{
	local pid=${PIDS[$1]:-} i

	[ -n "$pid" ] || return 0
	unset "PIDS[$1]"
	kill "$pid" 2>/dev/null || true
	for ((i = 0; i < 100; i++)); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	kill -KILL "$pid" 2>/dev/null || true
	wait "$pid" 2>/dev/null || true
}

# wait_line NAME REGEX SECONDS: until the log of NAME has a matching line.
wait_line()
{
	local end=$((SECONDS + $3))

	until grep -Eqs -e "$2" "$TMP/log/$1"; do
		running "$1" || fail "$1 ended before it said: $2"
		[ "$SECONDS" -lt "$end" ] || fail "$1 did not say within $3 s: $2"
		sleep 0.1
	done
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for()
{
	local end=$((SECONDS + $1)) what=$2

	shift 2
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || fail "not in time: $what"
		sleep 0.2
	done
}

# first_match NAME SED-SUBSTITUTION: what it makes of the first line it fits.
first_match()
{
	sed -nE "$2p" "$TMP/log/$1" | head -n 1
}

# ports N: sets the array PORTS to N free ports of 127.0.0.1.
#
# The kernel chooses them and a process keeps them bound without listening:
# a server with SO_REUSEADDR can still listen there, while the kernel gives
# them to nobody else, not even as the near end of an outgoing connection. So
# runs side by side never meet.
# shellcheck disable=SC2034 # read by those that source this
PORTS=()
HOLDERS=0
ports()
{
	local holder

	HOLDERS=$((HOLDERS + 1))
	holder=ports-$HOLDERS
	start "$holder" python3 -u -c '
import signal, socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
print("held", *(s.getsockname()[1] for s in held))
signal.pause()' "$1"
	wait_line "$holder" '^held' 20
	# shellcheck disable=SC2034
	read -ra PORTS < <(first_match "$holder" 's/^held //')
}

end_test()
{
	local status=$? name log

	trap - EXIT INT TERM
	for name in "${!PIDS[@]}"; do
		kill "${PIDS[$name]}" 2>/dev/null || true
	done
	for name in "${!PIDS[@]}"; do
		stop "$name"
	done
	if [ "$status" -ne 0 ]; then
		for log in "$TMP"/log/*; do
			[ -s "$log" ] || continue
			printf -- '--- end of %s\n' "${log##*/}" >&2
			tail -n 15 "$log" | cut -c 1-300 >&2
		done
		printf 'FAIL: %s\n' "${FAILURE:-see above}" >&2
	fi
	if [ -n "${KEEP:-}" ]; then
		printf 'kept: %s\n' "$TMP"
	else
		rm -rf "$TMP"
	fi
	exit "$status"
}
trap end_test EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
