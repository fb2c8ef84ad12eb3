# shellcheck shell=bash
# A private Tor network on loopback with the real tor; to be sourced after
# lib.sh. Three directory authorities, which are also relays and exits, are
# the smallest network through which a client builds a circuit.
#
#	tornet_start               once; further calls do nothing
#	tornet_bridge NAME LINE... a bridge of that network, with further torrc lines
#	tornet_client NAME LINE... a client; sets SOCKS[NAME] to its SOCKS port
#
# Each tor logs to $TMP/log/NAME and lives in $TMP/NAME.

umask 077
declare -A SOCKS=()

# What every torrc of the network begins with.
tornet_torrc()
{
	local name=$1

	shift
	mkdir -p "$TMP/$name"
	{
		cat <<-END
			TestingTorNetwork 1
			DataDirectory $TMP/$name
			Log notice stdout
			SafeLogging 0
			ShutdownWaitLength 0
			$(cat "$TMP"/auth?/dirauthority 2>/dev/null || true)
		END
		printf '%s\n' "$@"
	} >"$TMP/$name/torrc"
}

tornet_run()
{
	start "$1" tor --defaults-torrc /dev/null -f "$TMP/$1/torrc"
}

# Makes the keys of one authority, and the line that names it to all others.
tornet_keys()
{
	local name=$1 or=$2 dir=$3 keys=$TMP/$1/keys v3 relay

	mkdir -p "$TMP/$name" "$keys"
	(cd "$keys" && echo sultry | tor-gencert --create-identity-key --passphrase-fd 0 \
		-m 12 -a "127.0.0.1:$dir" >"$TMP/log/$name-keys" 2>&1)
	v3=$(awk '/^fingerprint/ { print $2 }' "$keys/authority_certificate")
	printf 'DataDirectory %s\nNickname %s\n' "$TMP/$name" "$name" >"$TMP/$name/torrc"
	relay=$(tor --list-fingerprint --orport 1 --quiet --defaults-torrc /dev/null \
		--dirserver 'x 127.0.0.1:1 ffffffffffffffffffffffffffffffffffffffff' \
		-f "$TMP/$name/torrc" | tail -n 1 | cut -d ' ' -f 2- | tr -d ' ')
	if [ -z "$v3" ] || [ ${#relay} -ne 40 ]; then
		echo "no keys for $name" >&2
		return 1
	fi
	printf 'DirAuthority %s orport=%s no-v2 v3ident=%s 127.0.0.1:%s %s\n' \
		"$name" "$or" "$v3" "$dir" "$relay" >"$TMP/$name/dirauthority"
}

tornet_start()
{
	local i name offset pids=()

	[ ! -e "$TMP/tornet-up" ] || return 0
	need tor tor
	need tor-gencert tor
	ports 6
	for i in 0 1 2; do
		tornet_keys "auth$i" "${PORTS[i]}" "${PORTS[i + 3]}" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || fail "an authority has no keys"
	done
	# The first vote is held when all three have published, not at whatever
	# second of the clock; a missed one is repeated a minute later.
	offset=$((($(date +%s) + 14) % 60))
	for i in 0 1 2; do
		name=auth$i
		tornet_torrc "$name" "Nickname $name" "ContactInfo $name@example.invalid" \
			"Address 127.0.0.1" "AssumeReachable 1" "SocksPort 0" \
			"ORPort 127.0.0.1:${PORTS[i]}" "DirPort 127.0.0.1:${PORTS[i + 3]}" \
			"AuthoritativeDirectory 1" "V3AuthoritativeDirectory 1" \
			"V3AuthVotingInterval 60" "V3AuthNIntervalsValid 30" \
			"V3AuthVoteDelay 4" "V3AuthDistDelay 4" \
			"TestingV3AuthInitialVotingInterval 60" \
			"TestingV3AuthInitialVoteDelay 4" "TestingV3AuthInitialDistDelay 4" \
			"TestingV3AuthVotingStartOffset $offset" "TestingMinExitFlagThreshold 0" \
			"TestingDirAuthVoteExit *" "TestingDirAuthVoteGuard *" \
			"TestingDirAuthVoteHSDir *" \
			"ExitRelay 1" "ExitPolicy accept *:*" "ExitPolicyRejectPrivate 0"
		tornet_run "$name"
	done
	touch "$TMP/tornet-up"
	for i in 0 1 2; do
		wait_for 120 "a consensus" tornet_consensus auth$i
	done
}

tornet_consensus()
{
	[ "$(grep -cs '^r ' "$TMP/$1/cached-microdesc-consensus")" = 3 ]
}

# The bridge is ready only at 100%: one without a consensus answers 404, and
# a client that hears that backs off for minutes.
tornet_bridge()
{
	local name=$1

	shift
	tornet_torrc "$name" "Nickname $name" "ContactInfo $name@example.invalid" \
		"BridgeRelay 1" "PublishServerDescriptor 0" "AssumeReachable 1" \
		"Address 127.0.0.1" "SocksPort 0" "ExtORPort auto" "$@"
	tornet_run "$name"
	wait_line "$name" 'Bootstrapped 100%' 120
}

tornet_fingerprint()
{
	cut -d ' ' -f 2 "$TMP/$1/fingerprint"
}

tornet_client()
{
	local name=$1

	shift
	ports 1
	SOCKS[$name]=${PORTS[0]}
	tornet_torrc "$name" "SocksPort 127.0.0.1:${SOCKS[$name]}" "UseBridges 1" "$@"
	tornet_run "$name"
}
