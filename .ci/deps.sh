#!/usr/bin/env bash
# Sees to the programs that natprobe's tests use besides Go.
#
#   deps.sh             install what is missing as root on Debian; elsewhere say
#                       what is missing and go on
#   deps.sh --strict    the same, but fail where something stays missing
#   deps.sh --peers     also the other people's STUN programs that ours is tried
#                       against; no service of theirs is started or enabled
#
# Building and measuring need none of this: the labs talk to the kernel
# directly. NO_INSTALL=1 installs nothing, even as root.
set -euo pipefail

# What a package is for, so that the message can tell someone who isn't root.
packages=(
	"make:the targets of the Makefile"
	"gcc:the race detector"
	"libc6-dev:the race detector"
	"iproute2:looking into the labs' networks"
	"nftables:a server's 1:1 NAT in labs, and looking at the labs' own rules"
	"conntrack:looking at the labs' mappings"
)
peers=(
	"coturn:turnserver and turnutils_*, another STUN server and its clients"
	"stun-client:stun, a STUN client of 2003"
	"wireguard-go:another end of tunnels"
	"wireguard-tools:wg, which asks and sets tunnels"
	"iperf3:traffic through tunnels"
	"iputils-ping:ping, through tunnels"
)

strict=false
with_peers=false
for argument in "$@"; do
	case $argument in
	--strict) strict=true ;;
	--peers) with_peers=true ;;
	*)
		echo "deps: unknown argument $argument (known: --strict, --peers)" >&2
		exit 2
		;;
	esac
done
if $with_peers; then
	packages+=("${peers[@]}")
fi

on_debian() {
	[[ -r /etc/debian_version ]] && command -v apt-get >/dev/null && command -v dpkg-query >/dev/null
}

installed() {
	[[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# give_up ends the script where something stays missing: an error for CI, a
# remark for everybody else.
give_up() {
	if $strict; then
		echo "deps: $1" >&2
		exit 1
	fi
	echo "deps: $1"
	echo "deps: going on; what can't run is skipped by name."
	exit 0
}

if ! on_debian; then
	if command -v cc >/dev/null || command -v gcc >/dev/null; then
		exit 0
	fi
	give_up "not Debian, so nothing is installed; a C compiler is needed for the race detector"
fi

missing=()
for entry in "${packages[@]}"; do
	if ! installed "${entry%%:*}"; then
		missing+=("${entry%%:*}")
		echo "deps: missing ${entry%%:*} (${entry#*:})"
	fi
done
if ((${#missing[@]} == 0)); then
	exit 0
fi
if ((EUID != 0)) || [[ -n ${NO_INSTALL:-} ]]; then
	give_up "nothing is installed (not root, or NO_INSTALL is set). To do it: apt-get install ${missing[*]}"
fi

# Programs are wanted, not services. A policy of the machine's own is left as
# it is.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi

echo "deps: running as root on Debian: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
install_missing() {
	apt-get -o DPkg::Lock::Timeout=120 update -qq &&
		apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}"
}
if ! install_missing </dev/null >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	rm -f "$log"
	give_up "apt-get couldn't install ${missing[*]}"
fi
rm -f "$log"
if [[ " ${missing[*]} " == *" coturn "* ]] && command -v systemctl >/dev/null; then
	systemctl disable --quiet coturn.service >/dev/null 2>&1 || true
fi
echo "deps: installed ${missing[*]}"
