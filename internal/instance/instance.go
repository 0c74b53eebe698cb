// Package instance owns the names, directories, files and ports of one rdd instance, as a value that is passed in.
//
// Several instances live side by side, each with a control plane, a store and VMs of its own. One is selected by its
// name, which is checked before any path is built from it. Nothing here reads the environment or touches the disk.
package instance

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// DefaultName is the instance that is used when none is selected: the same as that of the Rancher Desktop Daemon, so that
// scripts written for it find the same port.
const DefaultName = "2"

// MaxNameLength bounds the name, because it is part of the path of every control socket.
const MaxNameLength = 24

// basePort plus the index of the instance is where its API listens, unless the user chose another port.
const basePort = 6443

// maxIndex keeps the default port a valid one, whatever the digits at the end of a name.
const maxIndex = 999

// validName allows what is safe in a path on every platform; lower case only, because "Dev" and "dev" are one directory on
// the file systems of macOS and Windows.
var validName = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)

// longestSocket is the longest path below a VM's directory that Lima or rdd binds a socket to: ssh's control master
// appends a random suffix to its own while it connects.
const longestSocket = "ssh.sock.1234567890123456"

// Env holds what an instance's directories depend on. Empty fields mean the platform's default.
type Env struct {
	// Home is the user's home directory; the only field that must be set.
	Home string
	// XDGDataHome and XDGStateHome are used on Linux only; relative paths are ignored, as the XDG specification asks.
	XDGDataHome, XDGStateHome string
	// LocalAppData is used on Windows only.
	LocalAppData string
	// LogDir replaces the directory of the logs.
	LogDir string
}

// Instance is one rdd instance. The zero value is none.
type Instance struct {
	// Name is checked: safe as a part of a path.
	Name string
	// Dir holds everything but logs and VMs.
	Dir string
	// LogDir holds the daemon's logs.
	LogDir string
	// ShortDir is LIMA_HOME: the path of a socket has a limit, so it sits right below the home directory.
	ShortDir string
}

// New is the instance called name; an empty name means DefaultName.
func New(name string, env Env) (Instance, error) {
	if name == "" {
		name = DefaultName
	}
	if err := CheckName(name); err != nil {
		return Instance{}, err
	}
	if !filepath.IsAbs(env.Home) {
		return Instance{}, fmt.Errorf("cannot tell where to keep instance %q: the home directory %q is not an absolute path; set HOME, or USERPROFILE on Windows", name, env.Home)
	}
	data, logs := directories(env, "rdd-"+name)
	if env.LogDir != "" {
		abs, err := filepath.Abs(env.LogDir)
		if err != nil {
			return Instance{}, fmt.Errorf("cannot use log directory %q: %w", env.LogDir, err)
		}
		logs = abs
	}
	return Instance{Name: name, Dir: data, LogDir: logs, ShortDir: filepath.Join(env.Home, ".rdd"+name)}, nil
}

// CheckName tells what is wrong with the name of an instance.
func CheckName(name string) error {
	if len(name) > MaxNameLength {
		return fmt.Errorf("instance name %q is too long: at most %d characters", name, MaxNameLength)
	}
	if !validName.MatchString(name) {
		return fmt.Errorf("instance name %q is not valid: lower-case letters and digits, with single dots, dashes or underscores in between", name)
	}
	return nil
}

// Index is the number at the end of the name ("2", "dev-3"), 0 where there is none. Two instances may share an index; the
// second one to start then takes the next free port.
func (i Instance) Index() int {
	digits := i.Name[len(strings.TrimRight(i.Name, "0123456789")):]
	if len(digits) > 3 {
		digits = digits[len(digits)-3:]
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n % (maxIndex + 1)
}

// DefaultPort is where the API listens unless told otherwise.
func (i Instance) DefaultPort() int { return basePort + i.Index() }

// LimaHome is LIMA_HOME of all VMs of this instance.
func (i Instance) LimaHome() string { return i.ShortDir }

// Kubeconfig is the file with the owner's credentials for the API.
func (i Instance) Kubeconfig() string { return filepath.Join(i.Dir, "kubeconfig") }

// TLSDir holds certificates and keys.
func (i Instance) TLSDir() string { return filepath.Join(i.Dir, "tls") }

// PIDFile holds the daemon's PID, for scripts. rdd itself never trusts a bare number: it reads RecordFile.
func (i Instance) PIDFile() string { return filepath.Join(i.Dir, "rdd.pid") }

// RecordFile holds the daemon's identity and address.
func (i Instance) RecordFile() string { return filepath.Join(i.Dir, "daemon.json") }

// SettingsFile holds what `svc create` was told.
func (i Instance) SettingsFile() string { return filepath.Join(i.Dir, "settings.json") }

// LockFile is locked by the daemon for as long as it lives.
func (i Instance) LockFile() string { return filepath.Join(i.Dir, "rdd.lock") }

// DriverLock is locked by the process that runs the VMs, in the daemon or outside, for as long as it lives.
func (i Instance) DriverLock() string { return filepath.Join(i.ShortDir, "_rdd.lock") }

// ControllersKubeconfig leads controllers outside the daemon to the API; ControllersToken beside it is what they are let in by.
func (i Instance) ControllersKubeconfig(group string) string {
	return filepath.Join(i.Dir, "controllers-"+group+".kubeconfig")
}

// ControllersToken is renewed while such controllers run.
func (i Instance) ControllersToken(group string) string {
	return filepath.Join(i.Dir, "controllers-"+group+".token")
}

// StoreFile is the database of the API's objects.
func (i Instance) StoreFile() string { return filepath.Join(i.Dir, "store.db") }

// RequestsDir is where the daemon is asked things that a signal cannot say. It holds nothing else, because it is watched.
func (i Instance) RequestsDir() string { return filepath.Join(i.Dir, "requests") }

// CacheDir holds what can be had again: API discovery, the unpacked guest agent.
func (i Instance) CacheDir() string { return filepath.Join(i.Dir, "cache") }

// StdoutLog is where a daemon in the background writes its standard output.
func (i Instance) StdoutLog() string { return filepath.Join(i.LogDir, "rdd.stdout.log") }

// StderrLog is where a daemon in the background logs.
func (i Instance) StderrLog() string { return filepath.Join(i.LogDir, "rdd.stderr.log") }

// VMDir is where Lima keeps the VM called name.
func (i Instance) VMDir(name string) string {
	return filepath.Join(i.LimaHome(), name+i.LimaSuffix())
}

// LimaSuffix is what Lima's name of a VM has behind that of the VM: empty but on Windows, where Lima's names are those of WSL
// distributions too, of which a user has one list. No VM's name has an underscore, so no two names collide.
func (i Instance) LimaSuffix() string { return limaSuffix(i.Name) }

// AgentLog is what the hostagent of the VM called name logs.
func (i Instance) AgentLog(name string) string { return filepath.Join(i.VMDir(name), "ha.stderr.log") }

// JournalFile is the event log of the hostagent of the VM called name: a JSON object a line.
func (i Instance) JournalFile(name string) string {
	return filepath.Join(i.VMDir(name), "ha.stdout.log")
}

// SSHHost is what Lima calls the VM called name in the configuration of ssh that it writes.
func (i Instance) SSHHost(name string) string { return "lima-" + name + i.LimaSuffix() }

// Records holds the RecordDir of each VM.
func (i Instance) Records() string { return filepath.Join(i.LimaHome(), "_rdd") }

// RecordDir is where rdd keeps what it knows of the VM called name: whatever has none was not made by rdd.
func (i Instance) RecordDir(name string) string {
	return filepath.Join(i.Records(), name+i.LimaSuffix())
}

// WorkerLog is what the short-lived processes log that create, change and delete the VM called name.
func (i Instance) WorkerLog(name string) string {
	return filepath.Join(i.RecordDir(name), "worker.log")
}

// LimaDefaults is the file whose values Lima takes where a template has none.
func (i Instance) LimaDefaults() string {
	return filepath.Join(i.LimaHome(), "_config", "default.yaml")
}

// MaxVMNameLength is the longest name of a VM whose sockets still fit into the platform's limit; never negative.
func (i Instance) MaxVMNameLength() int { return max(0, i.spareSocketBytes()) }

// spareSocketBytes is what the sockets of a VM leave for its name.
func (i Instance) spareSocketBytes() int {
	// The limit counts the terminating zero byte, and the name comes with two separators.
	return socketPathMax - 1 - len(i.LimaHome()) - len(i.LimaSuffix()) - len(longestSocket) - 2
}

// CheckSocketPaths tells why no VM can be made, whatever its name.
func (i Instance) CheckSocketPaths() error {
	spare := i.spareSocketBytes()
	if spare >= 1 {
		return nil
	}
	return fmt.Errorf("cannot use instance %q: the path %s is too long for the sockets of VMs: it may have %d characters, and has %d; "+
		"choose a shorter home directory, or a shorter name of the instance", i.Name, i.LimaHome(), len(i.LimaHome())+spare-1, len(i.LimaHome()))
}
