#!/usr/bin/env bats
# The control plane as a service: made, started, found, restarted, stopped, removed; several of them side by side.

load lib/computer

setup_file() { new_computer; }
teardown_file() { remove_computer 2 side2 port777; }

@test "svc create makes private directories and starts nothing; again is fine" {
	rdd svc create
	run -0 rdd svc create
	run -0 rdd svc status -o json
	says '"created": true' '"running": false'
	if [ "$platform" != windows ]; then # there it is an access control list, which the tests of the package look at
		equal "$(mode "$(path_of RDD_DIR)")" drwx------
	fi
}

@test "svc start returns when the API answers" {
	run -0 rdd svc start
	run -0 rdd svc status -o json
	says '"running": true' '"ready": true'
	process_alive "$(daemon_pid)"
	equal "$(rdd ctl get --raw /readyz)" ok
}

@test "a second svc start finds the first one" {
	before=$(daemon_pid)
	run -0 rdd svc start
	equal "$(daemon_pid)" "$before"
}

@test "its files with secrets are their owner's alone" {
	if [ "$platform" != windows ]; then
		equal "$(mode "$(path_of RDD_CONFIG)")" -rw-------
		run -0 find "$(path_of RDD_TLS_DIR)" -type f -perm /077
		equal "$output" ""
	fi
	run rdd svc logs
	[ "$status" -eq 0 ]
	if printf '%s\n' "$output" | grep -E 'BEGIN .*PRIVATE KEY|Bearer '; then
		false
	fi
}

@test "rdd ctl starts a control plane, and ignores KUBECONFIG" {
	KUBECONFIG=$HOME/nowhere run -0 rdd --instance=side2 ctl get namespaces -o name
	says namespace/default
	process_alive "$(daemon_pid side2)"
}

@test "instances share nothing, not even a port that both would take" {
	rdd ctl create configmap mine
	run -0 rdd --instance=side2 ctl get configmaps -o name
	[ "${output/mine/}" = "$output" ]
	first=$(rdd svc status -o json | grep '"address"')
	second=$(rdd --instance=side2 svc status -o json | grep '"address"')
	[ -n "$first" ]
	[ "$first" != "$second" ] # both names end in 2, so both want 6445
}

@test "a port that is saved is the one of the next session" {
	rdd --instance=port777 svc create --secure-port 17443
	rdd --instance=port777 svc start
	run -0 rdd --instance=port777 svc status -o json
	says 127.0.0.1:17443
	run -0 rdd --instance=port777 svc stop
	rdd --instance=port777 svc start
	run -0 rdd --instance=port777 svc status -o json
	says 127.0.0.1:17443
}

@test "svc restart is another process with the same objects" {
	before=$(daemon_pid)
	run -0 rdd svc restart
	[ "$(daemon_pid)" != "$before" ]
	run -0 rdd ctl get configmap mine -o name
}

@test "svc config is a kubeconfig that any kubectl takes" {
	rdd svc config >"$HOME/config"
	run -0 rdd kubectl --kubeconfig "$(native "$HOME/config")" get configmap mine -o name
	equal "$output" configmap/mine
}

@test "svc stop ends it, and says so; again is fine" {
	pid=$(daemon_pid)
	run -0 rdd svc stop
	says "has stopped"
	run ! process_alive "$pid"
	run -0 rdd svc stop
	run -0 rdd svc status -o json
	says '"running": false'
}

@test "svc delete removes the directories" {
	directory=$(path_of RDD_DIR port777)
	[ -d "$directory" ]
	run -0 rdd --instance=port777 svc delete
	[ ! -e "$directory" ]
}
