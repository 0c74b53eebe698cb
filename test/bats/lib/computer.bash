# shellcheck shell=bash
# Loaded by every file of the suite: a user's computer with an empty home directory, rdd in the PATH, and words to check with.
bats_require_minimum_version 1.5.0
# shellcheck source=test/bats/lib/paths.bash
source "${BASH_SOURCE[0]%/*}/paths.bash"
# shellcheck source=test/bats/lib/processes.bash
source "${BASH_SOURCE[0]%/*}/processes.bash"

# What rdd leaves running must not hold the pipes that bats reads.
rdd() { command rdd "$@" 3>&- 4>&-; }

# Called by setup_file: its tests share one computer.
new_computer() {
	HOME=$(short_directory)
	PATH=$(dirname "$RDD_BIN"):$PATH
	export HOME PATH
	unset KUBECONFIG RDD_INSTANCE RDD_LOG_LEVEL RDD_LOG_DIR XDG_DATA_HOME XDG_STATE_HOME
	if [ "$platform" = windows ]; then
		USERPROFILE=$(native "$HOME") LOCALAPPDATA=$(native "$HOME/AppData/Local")
		export USERPROFILE LOCALAPPDATA
	fi
	cd "$HOME" || return
}

# Called by teardown_file, with the instances that were used: afterwards nothing is left of them.
remove_computer() { # INSTANCE…
	local name pid status=0
	for name; do
		keep_logs "$name"
		pid=$(daemon_pid "$name" 2>/dev/null) || pid=
		rdd --instance="$name" svc delete || status=1
		if [ -n "$pid" ] && process_alive "$pid"; then
			echo "the daemon of instance $name still runs after svc delete" >&2
			status=1
		fi
		if [ -e "$HOME/.rdd$name" ]; then
			echo "svc delete has left $HOME/.rdd$name" >&2
			status=1
		fi
	done
	cd / && rm -rf "$HOME" || status=1
	return "$status"
}

# Copies the logs to $RDD_TEST_LOGS, which CI keeps when something failed.
keep_logs() { # INSTANCE
	[ -n "${RDD_TEST_LOGS-}" ] || return 0
	local kept vm
	kept=$RDD_TEST_LOGS/$(basename "$BATS_TEST_FILENAME")-$1
	mkdir -p "$kept"
	cp -R "$(path_of RDD_LOG_DIR "$1")" "$kept/" 2>/dev/null || true
	for vm in "$(path_of RDD_LIMA_HOME "$1")"/*/*.log; do
		if [ -e "$vm" ]; then cp "$vm" "$kept/$(basename "$(dirname "$vm")")-$(basename "$vm")"; fi
	done
}

# says TEXT…: what `run` has printed contains each text.
says() {
	local text
	for text; do
		if [[ $output != *"$text"* ]]; then
			printf 'this is missing: %s\n' "$text" >&2
			return 1
		fi
	done
}

# complains TEXT…: the same of standard error, after `run --separate-stderr`, which is one line.
complains() {
	# shellcheck disable=SC2154 # set by run
	local output=$stderr
	says "$@" && [ "$(printf '%s\n' "$stderr" | wc -l)" -eq 1 ]
}

equal() { # GOT WANT
	[ "$1" = "$2" ] || { printf 'got:  %s\nwant: %s\n' "$1" "$2" >&2; return 1; }
}

matches() { # TEXT REGEX
	printf '%s\n' "$1" | grep -qE -e "$2" || { printf 'got:  %s\nwant: %s\n' "$1" "$2" >&2; return 1; }
}

# eventually REGEX COMMAND…: what the command prints matches, now or within a minute.
eventually() {
	local regex=$1 deadline=$((SECONDS + 60)) output
	shift
	until output=$("$@") && grep -qE -e "$regex" <<<"$output"; do
		((SECONDS < deadline)) || { printf 'got:  %s\nwant: %s\n' "$output" "$regex" >&2; return 1; }
		sleep 0.2
	done
}

# A field of a VM's object.
vm() { # NAME .PATH.OF.FIELD
	rdd ctl get limavm "$1" -o "jsonpath={$2}"
}

in_vm() { # NAME COMMAND…
	local name=$1
	shift
	rdd limavm shell "$name" -- "$@"
}

# Changes with each boot of the guest.
boot_id() { # NAME
	in_vm "$1" cat /proc/sys/kernel/random/boot_id | grep -E '^[0-9a-f-]{36}$'
}
