package doctor

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/seed-192657fa/rdd/internal/probe"
)

const (
	gib = 1 << 30
	// An image, its copy and a growing disk do not fit into less.
	diskEnough, diskLow = 10 * gib, 1 * gib
	// nameEnough is a length that names of VMs commonly stay below.
	nameEnough  = 16
	dialTimeout = 5 * time.Second
)

// packages are the names of a package in the words of each package manager, which is searched in this order.
type packages struct{ debian, fedora, homebrew, windows string }

func (p packages) install(env []string) string {
	for _, manager := range []struct{ program, command, name string }{
		{"apt-get", "sudo apt-get install ", p.debian}, {"dnf", "sudo dnf install ", p.fedora},
		{"brew", "brew install ", p.homebrew}, {"winget", "winget install ", p.windows},
	} {
		if _, err := probe.LookPath(manager.program, env); err == nil && manager.name != "" {
			return manager.command + manager.name
		}
	}
	return fmt.Sprintf("install the package %s (Debian), %s (Fedora)", p.debian, p.fedora)
}

func checkSSH(_ context.Context, cfg Config) []Finding {
	var missing []Finding
	for _, program := range []string{"ssh", "ssh-keygen"} {
		if _, err := probe.LookPath(program, cfg.Env); err != nil {
			missing = append(missing, Finding{
				Status: Broken, Message: program + " is not installed",
				Remedy: packages{"openssh-client", "openssh-clients", "openssh", "Microsoft.OpenSSH.Preview"}.install(cfg.Env),
			})
		}
	}
	if missing != nil {
		return missing
	}
	return ok("ssh and ssh-keygen are installed")
}

func checkDiskSpace(_ context.Context, cfg Config) []Finding {
	var found []Finding
	for _, dir := range []string{cfg.Instance.ShortDir, cfg.Instance.Dir} {
		free, err := freeSpace(existing(dir))
		switch {
		case err != nil:
			found = append(found, Finding{Status: Broken, Message: fmt.Sprintf("cannot tell how much space %s has: %v", dir, err)})
		case free < diskEnough:
			status := Warning
			if free < diskLow {
				status = Broken
			}
			found = append(found, Finding{
				Status: status, Message: fmt.Sprintf("%.1f GiB are free for %s", float64(free)/gib, dir),
				Remedy: "free some space; \"rdd limavm delete NAME\" removes a VM with its disk",
			})
		}
	}
	if found != nil {
		return found
	}
	return ok("there is enough")
}

// existing is dir, or the nearest directory above it that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

func checkSocketPaths(_ context.Context, cfg Config) []Finding {
	longest := cfg.Instance.MaxVMNameLength()
	if longest >= nameEnough {
		return ok(fmt.Sprintf("names of VMs may have %d characters", longest))
	}
	status := Warning
	if longest == 0 {
		status = Broken
	}
	return []Finding{{
		Status:  status,
		Message: fmt.Sprintf("%s is so long that names of VMs may have %d characters only", cfg.Instance.LimaHome(), longest),
		Remedy:  "choose a shorter name of the instance, or a shorter home directory",
	}}
}

func checkPort(ctx context.Context, cfg Config) []Finding {
	if cfg.Address != "" {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", cfg.Address)
		if err != nil {
			return []Finding{{Status: Broken, Message: fmt.Sprintf("the control plane runs, but does not answer: %v", err), Remedy: "rdd svc logs"}}
		}
		connection.Close()
		return ok("the control plane answers at " + cfg.Address)
	}
	port, status, remedy := cfg.SecurePort, Broken, "rdd svc create --secure-port=0"
	if port == 0 {
		port, status, remedy = cfg.Instance.DefaultPort(), Warning, "nothing: the next free port is used"
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return []Finding{{Status: status, Message: fmt.Sprintf("port %d is taken: %v", port, err), Remedy: remedy}}
	}
	listener.Close()
	return ok(fmt.Sprintf("port %d is free", port))
}
