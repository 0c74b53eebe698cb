#!/usr/bin/env bats
# bats file_tags=vm
# The life of one VM as its user leads it. It boots for the first test, and once more for what outlives a stop.

load lib/computer

setup_file() {
	new_computer
	rdd up dev --template "$TEMPLATE" --timeout 10m
}
teardown_file() { remove_computer 2; }

@test "a VM that is up is listed, and described" {
	run -0 rdd limavm list
	says NAME dev Running 127.0.0.1:
	run -0 rdd limavm status dev
	says Running Started "Conditions:" "Recent events:"
	run -0 rdd ctl wait limavm/dev --for=condition=Running --timeout=10s
}

@test "up again finds it" {
	before=$(boot_id dev)
	run -0 rdd up dev
	equal "$(boot_id dev)" "$before"
}

@test "shell passes arguments, standard input and the exit code on" {
	run -7 in_vm dev sh -c 'exit 7'
	# shellcheck disable=SC2016 # as it is
	equal "$(in_vm dev echo 'a  b' '$HOME')" 'a  b $HOME'
	equal "$(printf 'one\ntwo\n' | in_vm dev wc -l | tr -d '[:space:]')" 2
	# shellcheck disable=SC2016 # the guest's variable
	run -0 rdd limavm shell dev --workdir /usr/bin --env 'ITS=own' -- sh -c 'pwd; echo $ITS'
	equal "$output" $'/usr/bin\nown'
}

@test "files go both ways, directories too" {
	mkdir -p tree/deep && echo there >tree/deep/file
	run -0 rdd limavm cp -r tree dev:
	in_vm dev sh -c 'echo back >tree/deep/answer'
	run -0 rdd limavm cp -r dev:tree returned
	equal "$(cat returned/deep/file returned/deep/answer)" $'there\nback'
}

@test "ssh knows it by its configuration" {
	config=$(rdd limavm ssh-config dev -o path)
	host=$(rdd limavm ssh-config dev | awk '$1 == "Host" { print $2 }')
	run -0 ssh -F "$config" "$host" echo by ssh 3>&- 4>&-
	says "by ssh"
}

@test "logs and events tell what has happened" {
	run -0 rdd limavm logs dev
	says "final requirement"
	run -0 rdd limavm logs dev --serial
	run -0 rdd limavm events dev
	says Created Starting Started
}

@test "a VM that does not run says so, and says what to do" {
	in_vm dev sh -c 'echo precious >kept'
	run -0 rdd limavm stop dev
	says "has stopped"
	run -1 --separate-stderr rdd limavm shell dev -- true
	complains "is not running" "rdd limavm start dev"
	run -0 rdd limavm list
	says Stopped
}

@test "what was written before a stop is there after the next start" {
	run -0 rdd limavm start dev --timeout 10m
	equal "$(in_vm dev cat kept)" precious
}

@test "delete shuts it down and leaves nothing" {
	directory=$(posix "$(vm dev .status.instance.directory)")
	agent=$(vm dev .status.host.pid) driver=$(vm dev .status.host.driverPID)
	[ -d "$directory" ]
	process_alive "$agent"
	run -0 rdd limavm delete dev
	[ ! -e "$directory" ]
	run ! process_alive "$agent"
	[ -z "$driver" ] || run ! process_alive "$driver"
	run -5 rdd limavm status dev
	run -1 rdd ctl get configmap dev-template
}
