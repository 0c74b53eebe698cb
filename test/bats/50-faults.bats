#!/usr/bin/env bats
# bats file_tags=vm
# What must not matter: processes that are killed, PID files that lie. One VM goes through all of it.

load lib/computer

setup_file() {
	new_computer
	rdd up dev --template "$PLAIN_TEMPLATE" --timeout 10m
}
teardown_file() {
	remove_computer 2
}

# Is called whenever the daemon may be another one: the VM has noticed nothing.
is_the_same_vm() { # BOOT-ID AGENT
	rdd ctl wait limavm/dev --for=jsonpath='{.status.host.adopted}'=true --timeout=60s
	run -0 rdd ctl wait-condition limavm/dev Running --reason Started --since startup
	equal "$(boot_id dev)" "$1"
	equal "$(vm dev .status.host.pid)" "$2"
	equal "$(vm dev .status.restartCount)" 1
}

@test "the daemon is killed: the VM goes on, and the next daemon takes it over" {
	boot=$(boot_id dev) agent=$(vm dev .status.host.pid)
	rdd ctl create configmap acknowledged
	process_kill "$(daemon_pid)"
	run -0 rdd svc start
	run -0 rdd ctl get configmap acknowledged # a write that was answered is kept
	is_the_same_vm "$boot" "$agent"
	eventually Adopted rdd limavm events dev
}

@test "the service is restarted: the VM goes on" {
	boot=$(boot_id dev) agent=$(vm dev .status.host.pid)
	run -0 rdd svc restart
	is_the_same_vm "$boot" "$agent"
}

@test "the agent is killed: what it leaves is ended, and the VM is started again" {
	in_vm dev sh -c 'echo precious >kept; sync'
	boot=$(boot_id dev) agent=$(vm dev .status.host.pid) driver=$(vm dev .status.host.driverPID)
	process_kill "$agent"
	rdd ctl wait limavm/dev --for=jsonpath='{.status.restartCount}'=2 --timeout=5m
	[ "$(boot_id dev)" != "$boot" ]
	equal "$(in_vm dev cat kept)" precious
	[ -z "$driver" ] || run ! process_alive "$driver"
	run -0 rdd limavm events dev
	says Crashed
}

@test "svc stop shuts the guest down, and does not shoot it" {
	agent=$(vm dev .status.host.pid)
	in_vm dev sh -c 'echo unsynced >fresh'
	run -0 rdd svc stop
	run ! process_alive "$agent"
	rdd svc start
	rdd ctl wait-condition limavm/dev Running --reason Started --since startup --timeout 10m
	equal "$(in_vm dev cat fresh)" unsynced
	run -0 rdd limavm events dev
	run ! says ForcedStop
}

@test "a VM that was left without a control plane is shut down all the same" {
	agent=$(vm dev .status.host.pid)
	run -0 rdd svc stop --keep-vms
	process_alive "$agent"
	run -0 rdd down --all
	run ! process_alive "$agent"
	run -0 rdd svc start
}

@test "a PID file that names a stranger: nothing is signalled, whatever is done to the VM" {
	rdd limavm stop dev
	directory=$(posix "$(vm dev .status.instance.directory)")
	[ -n "$directory" ]
	[ -d "$directory" ]
	start_stranger
	for file in ha.pid qemu.pid; do echo "$stranger" >"$directory/$file"; done
	run rdd limavm stop dev --force
	run -0 rdd limavm delete dev --force
	process_alive "$stranger"
	process_kill "$stranger"
	[ ! -e "$directory" ]
}
