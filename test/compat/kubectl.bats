#!/usr/bin/env bats
# What users of kubectl do, with the kubectl in $KUBECTL and nothing of rdd but its control plane. No VM boots.

load ../bats/lib/computer

setup_file() {
	new_computer
	rdd svc config >"$HOME/config" # which starts the control plane
	export KUBECONFIG=$HOME/config
	cat >template.yaml <<-'YAML'
		images: [{location: "https://example.invalid/small.qcow2", arch: x86_64}, {location: "https://example.invalid/small.qcow2", arch: aarch64}]
	YAML
	declaration Always >vm.yaml
}
teardown_file() { remove_computer 2; }

kubectl() { "$KUBECTL" "$@" 3>&-; }

declaration() { # RESTART-POLICY
	cat <<-YAML
		apiVersion: lima.rancherdesktop.io/v1alpha1
		kind: LimaVM
		metadata: {name: dev}
		spec:
		  templateRef: {name: small}
		  restartPolicy: $1
	YAML
}

@test "version" {
	run -0 kubectl version
	says "Client Version: v1." "Server Version: v1."
}

@test "api-resources" {
	run -0 kubectl api-resources
	says "limavms" "lvm" "configmaps"
	run -0 kubectl api-resources --api-group=lima.rancherdesktop.io -o name
	equal "$output" limavms.lima.rancherdesktop.io
}

@test "explain" {
	run -0 kubectl explain limavm.spec.templateRef
	says "GROUP:" "lima.rancherdesktop.io" "Immutable"
	run -0 kubectl explain limavm --recursive
	says restartPolicy
}

@test "create" {
	run -0 kubectl create configmap small --from-file=template=template.yaml
	run -0 kubectl create -f vm.yaml
	says "limavm.lima.rancherdesktop.io/dev created"
	run -1 kubectl create -f vm.yaml
	says AlreadyExists
	run -1 kubectl create -f - <<<"$(declaration Always | sed 's/restartPolicy/restartPolcy/; s/dev/typo/')"
	says 'unknown field "spec.restartPolcy"'
}

@test "get, as a table and by its short name" {
	run -0 kubectl get lvm
	says NAME PHASE dev
	run -0 kubectl get all -o name
	says limavm.lima.rancherdesktop.io/dev
	equal "$(kubectl get limavm dev -o 'jsonpath={.spec.restartPolicy}')" Always
}

@test "wait for a condition" {
	run -0 kubectl wait limavm/dev --for=condition=Created=False --timeout=60s
	says "condition met"
	run -0 kubectl wait limavm/dev --for=jsonpath='{.status.templateConfigMap}'=dev-template --timeout=60s
	run -1 kubectl wait limavm/dev --for=condition=Running --timeout=1s
	says "timed out"
}

@test "describe shows conditions and events" {
	run -0 kubectl describe limavm dev
	says "Restart Policy:" "Conditions:" "CreateFailed" "Events:"
}

@test "apply, diff and apply again" {
	run -0 kubectl apply -f vm.yaml
	declaration Never >changed.yaml
	run -1 kubectl diff -f changed.yaml
	says "-  restartPolicy: Always" "+  restartPolicy: Never"
	run -0 kubectl apply -f changed.yaml
	says configured
	run -0 kubectl diff -f changed.yaml
	run -0 kubectl apply -f changed.yaml
	says unchanged
	run -0 kubectl apply -f vm.yaml --dry-run=server
	says "server dry run"
}

@test "apply --server-side knows whose field it is" {
	run -0 kubectl apply --server-side --force-conflicts -f changed.yaml
	run -1 kubectl apply --server-side --field-manager=other -f vm.yaml
	says conflict .spec.restartPolicy
	run -0 kubectl apply --server-side --field-manager=other --force-conflicts -f vm.yaml
}

@test "patch: merge, JSON, and strategic for built-in kinds" {
	run -0 kubectl patch limavm dev --type merge --patch '{"spec":{"stopGracePeriodSeconds":5}}'
	run -0 kubectl patch limavm dev --type json --patch '[{"op":"replace","path":"/spec/stopGracePeriodSeconds","value":6}]'
	equal "$(kubectl get limavm dev -o 'jsonpath={.spec.stopGracePeriodSeconds}')" 6
	run -0 kubectl patch configmap small --patch '{"data":{"more":"yes"}}'
	run -1 kubectl patch limavm dev --type merge --patch '{"spec":{"templateRef":{"name":"other"}}}'
	says "templateRef is immutable"
}

@test "get -w sees what is there, and then a change" {
	coproc watching { exec "$KUBECTL" get limavm dev -w -o 'jsonpath={.metadata.labels.seen},' 3>&- 4>&-; }
	pid=$watching_PID # gone from the variable once it has ended
	read -r -t 60 -d , before <&"${watching[0]}"
	kubectl label limavm dev seen=yes
	read -r -t 60 -d , after <&"${watching[0]}"
	disown "$pid" && process_kill "$pid"
	equal "$before-$after" -yes
}

@test "auth can-i, and whoami" {
	run -0 kubectl auth can-i delete limavms
	equal "$output" yes
	run -1 kubectl auth can-i delete limavms --as system:serviceaccount:default:default
	equal "$output" no
	run -0 kubectl auth whoami
	says rdd-admin
}

@test "logs of what is not there, and other mistakes, are told plainly" {
	run -1 kubectl get limavm nothing
	says "NotFound"
	run -1 kubectl get nonsense
	says "the server doesn't have a resource type"
}

@test "delete waits until it is gone" {
	run -0 kubectl delete limavm dev --dry-run=server
	run -0 kubectl delete -f vm.yaml --timeout=60s
	run -1 kubectl get configmap dev-template
	says NotFound
}
