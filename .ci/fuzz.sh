#!/usr/bin/env bash
# Runs each fuzz target of the module in turn, FUZZTIME long each (60s unless
# told). An argument limits it to the packages that match it: fuzz.sh ./reflector/...
# A finding is kept as an input under the package's testdata/fuzz, to be committed.
set -euo pipefail

fuzztime=${FUZZTIME:-60s}
if (($# == 0)); then
	set -- ./...
fi

# go test -list prints a package's targets, then the package's own line.
listing=$(go test -list '^Fuzz' "$@") || {
	echo "$listing"
	echo "fuzz: couldn't list the fuzz targets" >&2
	exit 1
}
targets=$(awk '/^Fuzz/ { names[++n] = $1 }
	$1 == "ok" { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }' <<<"$listing")
if [[ -z $targets ]]; then
	echo "fuzz: no fuzz targets in $*"
	exit 0
fi

# fuzz PACKAGE TARGET: Go now and then fails a target at the end of its time, with
# "context deadline exceeded" and no input that fails (go.dev/issue/75804). That
# is no finding, and tried once more.
fuzz() {
	local said status=0
	for _ in 1 2; do
		status=0
		said=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$fuzztime" "$1" </dev/null 2>&1) || status=$?
		echo "$said"
		if ((status == 0)) || [[ $said == *"Failing input written"* || $said != *"context deadline exceeded"* ]]; then
			break
		fi
		echo "fuzz: no input failed; once more"
	done
	return "$status"
}

failed=()
count=0
while read -r package target; do
	count=$((count + 1))
	echo "fuzz: $package $target for $fuzztime"
	fuzz "$package" "$target" || failed+=("$package $target")
done <<<"$targets"

if ((${#failed[@]} > 0)); then
	printf 'fuzz: FAILED %s\n' "${failed[@]}" >&2
	exit 1
fi
echo "fuzz: $count targets, no finding"
