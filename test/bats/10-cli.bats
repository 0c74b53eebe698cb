#!/usr/bin/env bats
# The command line by itself: nothing here needs a control plane, and nothing starts one.

load lib/computer

setup_file() { new_computer; }
teardown_file() { remove_computer; }

teardown() {
	# Whatever was typed: no control plane has been started, nothing has been made.
	[ ! -e "$HOME/.rdd2" ]
}

@test "version prints a semantic version, alone on standard output" {
	run -0 --separate-stderr rdd version
	matches "$output" '^rdd [0-9]+\.[0-9]+\.[0-9]+'
	equal "$stderr" ""
}

@test "the version is told before most packages are initialised, as main would tell it" {
	for words in version --version; do
		GODEBUG=inittrace=1 run -0 --separate-stderr rdd "$words"
		matches "$output" '^rdd '
		equal "$output" "$(rdd --quiet version)"
		initialised=$(grep -c '^init ' <<<"$stderr")
		((initialised > 10 && initialised < 100))
	done
}

@test "a short command collects no garbage" {
	GODEBUG=gctrace=1 run -0 --separate-stderr rdd svc paths
	equal "$stderr" ""
}

@test "without arguments it tells what it can do" {
	run -0 rdd
	says "Usage:" "limavm" "service" "doctor"
}

@test "wrong usage is one line on standard error, and exit code 2" {
	run -2 --separate-stderr rdd limavm stop
	complains "stop"
	equal "$output" ""
	run -2 --separate-stderr rdd limavm list --nonsense
	complains "--nonsense"
	run -2 --separate-stderr rdd nonsense
	complains "nonsense"
}

@test "a name of an instance is checked before any path is made from it" {
	for name in ../evil 'a b' Dev a/b; do
		run -2 --separate-stderr rdd --instance="$name" svc start
		complains "instance name"
	done
	[ ! -e "$HOME/evil" ]
	RDD_INSTANCE=../evil run -2 rdd svc status
}

@test "svc paths can be evaluated by a shell" {
	eval "$(rdd --instance=other svc paths -o shell)"
	# shellcheck disable=SC2153 # the output of rdd sets it
	equal "$(posix "$RDD_SHORT_DIR")" "$HOME/.rddother"
	for variable in RDD_DIR RDD_LIMA_HOME RDD_LOG_DIR RDD_TLS_DIR RDD_CONFIG RDD_PID_FILE RDD_ARGS_FILE; do
		[ -n "${!variable}" ]
	done
}

@test "RDD_INSTANCE selects an instance, and --instance wins over it" {
	export RDD_INSTANCE=one
	equal "$(posix "$(rdd svc paths RDD_SHORT_DIR)")" "$HOME/.rddone"
	equal "$(path_of RDD_SHORT_DIR two)" "$HOME/.rddtwo"
}

@test "completion is there for four shells" {
	rdd completion bash | bash -n
	for shell in zsh fish powershell; do
		run -0 rdd completion "$shell"
		says "rdd"
	done
}

@test "fish completes" {
	command -v fish || skip "no fish here"
	run -0 fish --no-config -c "\"$RDD_BIN\" completion fish | source; complete -C 'rdd limavm st'"
	says "Show one VM in depth" "Shut VMs down"
}

@test "zsh completes" {
	command -v zsh || skip "no zsh here"
	# compinit does not ask whose the files are; _describe is where zsh would show what there is.
	run -0 zsh -fc "autoload -Uz compinit; compinit -D -u; source <(\"$RDD_BIN\" completion zsh); [[ \$_comps[rdd] = _rdd ]] || exit 3
		_describe() { print -l -- \$completions; }
		words=(rdd limavm st) CURRENT=3; _rdd"
	says "Show one VM in depth" "Shut VMs down"
}

@test "called kubectl, it is kubectl" {
	ln -s "$RDD_BIN" "$HOME/kubectl$exe"
	run -0 "$HOME/kubectl$exe" version --client
	says "Client Version: v1."
	run -1 "$HOME/kubectl$exe" svc status
	says "unknown command"
}

@test "doctor -o json is a list of findings, each with a status" {
	run rdd doctor -o json
	[ "$status" -le 1 ]
	says '"check": "ssh"' '"status"'
}

@test "svc status of an instance that is not there tells so" {
	run -0 --separate-stderr rdd svc status -o json
	says '"created": false' '"running": false'
}
