// Package vmtype owns what differs between Lima's drivers for those that find, end and clean up after a VM: one table, and
// no branch on a driver's name anywhere else.
package vmtype

// Type tells how the VMs of one driver live.
type Type struct {
	// Process is how the name of the process begins that carries the VM, for where no PID file tells: the driver has not written
	// one yet, or it was removed lest Lima signal by it. Empty where there is no such process.
	Process string
	// Monitor is the socket in the instance's directory on which QEMU takes commands; empty where nobody but the agent can ask
	// the guest to shut down.
	Monitor string
	// InAgent: the VM is a part of its agent's process. Who the driver is need not be found out, the death of the agent is
	// that of the VM, and nothing but the end of the agent can force the VM's.
	InAgent bool
	// Distribution: the VM is a WSL distribution. No process of ours carries it, so that it outlives its agent, and it is
	// known, ended and removed by its name alone.
	Distribution bool
	// Forwarded: the ssh server of the guest is at a port of this machine's loopback.
	Forwarded bool
}

// Of is the type that Lima calls name ("qemu"). One that is not known here is an external driver, or has a PID file.
func Of(name string) Type {
	switch name {
	case "qemu":
		return Type{Process: "qemu-system", Monitor: "qmp.sock", Forwarded: true}
	case "vz":
		return Type{InAgent: true, Forwarded: true}
	case "wsl2":
		return Type{Distribution: true}
	}
	return Type{Process: externalDriver}
}

// externalDriver is how the names of programs begin that Lima takes for external drivers.
const externalDriver = "lima-driver-"

// Distribution is what Lima calls the distribution of an instance. All LIMA_HOMEs of a user share one list of names.
func Distribution(instance string) string { return "lima-" + instance }
