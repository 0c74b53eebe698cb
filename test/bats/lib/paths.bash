# shellcheck shell=bash
# The one place that knows how platforms write paths. rdd reads and prints those of the platform; bash under MSYS2 has its own.

case $(uname -s) in
MINGW* | MSYS* | CYGWIN*) platform=windows exe=.exe ;;
Darwin) platform=macos exe= ;;
*) platform=linux exe= ;;
esac
export platform exe

# The path as rdd writes it.
native() { # PATH
	if [ "$platform" = windows ]; then cygpath -m "$1"; else printf '%s\n' "$1"; fi
}

# A path that rdd printed, for this shell.
posix() { # PATH
	if [ "$platform" = windows ]; then cygpath -u "$1"; else printf '%s\n' "$1"; fi
}

# Where rdd keeps something, for this shell: RDD_DIR, RDD_LIMA_HOME, RDD_LOG_DIR, …
path_of() { # KEY [INSTANCE]
	posix "$(rdd --instance="${2:-2}" svc paths "$1")"
}

# A new, empty directory whose path is short enough for the sockets below it.
short_directory() { mktemp -d /tmp/rddXXXXXX; }

# The access rights of a file, as ls shows them.
mode() { # PATH
	# shellcheck disable=SC2012 # stat has another syntax on each platform
	ls -ld "$1" | cut -c1-10
}
