# shellcheck shell=bash
# What all files share: the binary, and the templates that VMs are made from. On Linux that is the guest of test/guest, which
# needs no internet; elsewhere it is the default one, which downloads its image.
setup_suite() {
	local root guest
	root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd) || return
	load lib/paths
	export RDD_BIN=${RDD_BIN:-$root/bin/rdd$exe}
	[ -x "$RDD_BIN" ] || { echo "there is no $RDD_BIN: run scripts/build" >&2; return 1; }
	export TEMPLATE=template:default PLAIN_TEMPLATE=template:default
	if [ "$platform" = linux ]; then
		guest=$("$root/test/guest/build") || return
		TEMPLATE=$guest/guest.yaml PLAIN_TEMPLATE=$guest/guest-plain.yaml
	fi
}
