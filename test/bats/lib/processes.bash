# shellcheck shell=bash
# The one place that knows how platforms name and end processes. PIDs are those of the platform, which rdd shows too; those
# that bash under MSYS2 prints are its own.

# A process that has ended and that nobody has asked about yet, a zombie, does not live.
process_alive() { # PID
	if [ "$platform" = windows ]; then
		tasklist //NH //FI "PID eq $1" | grep -qw "$1"
	else
		ps -o stat= -p "$1" | grep -qv '^Z'
	fi
}

# Ends a process at once, as a crash does.
process_kill() { # PID
	if [ "$platform" = windows ]; then taskkill //F //PID "$1" >/dev/null; else kill -KILL "$1"; fi
}

# Starts a process that has nothing to do with rdd and goes on until it is ended; its PID is in $stranger.
start_stranger() {
	tail -f /dev/null 3>&- &
	stranger=$!
	disown # its end is no news
	if [ "$platform" = windows ]; then stranger=$(cat "/proc/$stranger/winpid"); fi
}

daemon_pid() { # [INSTANCE]
	tr -d '[:space:]' <"$(path_of RDD_PID_FILE "${1:-2}")"
}
