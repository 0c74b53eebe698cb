#!/usr/bin/env bats
# The API as kubectl and scripts see it. VMs are declared here, and made on disk at most; none boots.

load lib/computer

setup_file() {
	new_computer
	rdd svc start
	cat >"$HOME/small.yaml" <<-'YAML'
		images: [{location: "https://example.invalid/small.qcow2", arch: x86_64}, {location: "https://example.invalid/small.qcow2", arch: aarch64}]
		cpus: 1
		param: {FLAVOR: plain}
		provision: [{mode: user, script: "echo {{.Param.FLAVOR}}"}]
	YAML
	rdd ctl create configmap small --from-file=template=small.yaml
	rdd ctl create namespace work
}
teardown_file() { remove_computer 2; }

# A LimaVM that does not run, as YAML.
declaration() { # NAME TEMPLATE [LINE-OF-SPEC]
	cat <<-YAML
		apiVersion: lima.rancherdesktop.io/v1alpha1
		kind: LimaVM
		metadata: {name: $1}
		spec:
		  templateRef: {name: $2, namespace: default}
		  ${3-}
	YAML
}

@test "LimaVM is found, and explained" {
	run -0 rdd ctl api-resources
	says limavms lvm lima.rancherdesktop.io/v1alpha1
	run -0 rdd ctl explain limavm.spec
	says templateRef running restartPolicy
}

@test "a LimaVM is applied, unchanged the second time" {
	declaration one small >one.yaml
	run -0 rdd ctl apply -f one.yaml
	says "limavm.lima.rancherdesktop.io/one created"
	run -0 rdd ctl apply -f one.yaml
	says unchanged
	run -0 rdd limavm list -o name
	equal "$output" one
}

@test "what is observed is reported in conditions that can be waited for" {
	run -0 rdd ctl wait-condition limavm/one Created=False --reason CreateFailed
	run -0 rdd ctl wait limavm/one --for=condition=Created=False --timeout=60s
	eventually 'BackOff .*example\.invalid' rdd limavm status one # the event follows the condition, which the next attempt changes
}

@test "a wait that times out is exit code 4, and nothing there is 5" {
	run -4 rdd ctl wait-condition limavm/one Running --timeout 1s
	says "context deadline exceeded"
	run -5 --separate-stderr rdd limavm start nothing
	complains 'there is no VM "nothing"'
}

@test "a field that does not exist is refused" {
	run -1 rdd ctl apply --validate=strict -f - <<<"$(declaration two small 'runing: true')"
	says 'unknown field "spec.runing"'
}

@test "a name is used once in all namespaces" {
	run -1 rdd ctl apply -n work -f one.yaml
	says "already used" "unique across all namespaces"
}

@test "a template that is missing, empty, no YAML or not valid for Lima is refused, in a dry run too" {
	run -1 rdd ctl apply --dry-run=server -f - <<<"$(declaration two nothing)"
	says "not found"
	rdd ctl create configmap empty --from-literal=template=
	run -1 rdd ctl apply --dry-run=server -f - <<<"$(declaration two empty)"
	says '"template" data cannot be empty'
	rdd ctl create configmap noyaml --from-literal='template={['
	run -1 rdd ctl apply --dry-run=server -f - <<<"$(declaration two noyaml)"
	says "failed to parse template"
	rdd ctl create configmap invalid --from-literal='template=images: []'
	run -1 rdd ctl apply --dry-run=server -f - <<<"$(declaration two invalid)"
	says "failed to validate template"
}

@test "templateRef is immutable, and parameters are those of the template" {
	run -1 rdd ctl patch limavm one --type merge --patch '{"spec":{"templateRef":{"name":"empty"}}}'
	says "templateRef is immutable"
	run -1 rdd ctl patch limavm one --type merge --patch '{"spec":{"params":{"COLOUR":"red"}}}'
	says COLOUR
	run -0 rdd limavm params one FLAVOR=large --wait=false
	run -0 rdd limavm params one
	says FLAVOR large
}

@test "the template of a VM is protected" {
	run -0 vm one .status.templateConfigMap
	equal "$output" one-template
	run -1 rdd ctl delete configmap one-template
	says "owned by LimaVM" "delete the LimaVM resource instead"
	run -1 rdd ctl delete configmap one-template --dry-run=server
	says "owned by LimaVM"
	run -1 rdd ctl patch configmap one-template --type merge --patch '{"data":{"template":"cpus: ["}}'
	says "failed to parse template"
}

@test "create refuses with exit code 3 and leaves nothing; a dry run makes nothing" {
	echo 'images: []' >invalid.yaml
	run -3 --separate-stderr rdd limavm create two invalid.yaml
	complains "invalid.yaml is not valid" "\`images\` must be set"
	run -5 rdd limavm status two
	run -1 rdd ctl get configmap two
	run -0 rdd limavm create two small.yaml --cpus 2 --set '.memory = "1GiB"' --dry-run
	run -5 rdd limavm status two
}

@test "server-side apply knows whose field it is" {
	declaration three small 'restartPolicy: Never' >three.yaml
	run -0 rdd ctl apply --server-side -f three.yaml
	declaration three small 'restartPolicy: Always' >three.yaml
	run -1 rdd ctl apply --server-side --field-manager=other -f three.yaml
	says conflict .spec.restartPolicy
	run -0 rdd ctl diff -f <(declaration three small 'restartPolicy: Never')
	run -1 rdd ctl diff -f three.yaml
	says "+  restartPolicy: Always"
}

@test "service accounts have the rights that they were given, and no other" {
	rdd ctl create serviceaccount viewer
	run -1 rdd ctl auth can-i delete limavms --as system:serviceaccount:default:viewer
	equal "$output" no
	run -0 rdd ctl auth can-i delete limavms
	equal "$output" yes
}

@test "a deleted VM takes its template along" {
	run -0 rdd limavm delete one three
	run -1 rdd ctl get configmap one-template
	says "not found"
	run -0 rdd limavm list -o name
	equal "$output" ""
}
