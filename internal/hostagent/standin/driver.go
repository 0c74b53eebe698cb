package standin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/seed-192657fa/rdd/internal/hostagent/instancedir"
	"github.com/seed-192657fa/rdd/process"
)

// runDriver is the guest, and the process that carries it. It goes on when its agent dies, as QEMU does.
func (s *standin) runDriver() error {
	self, err := process.Self()
	if err != nil {
		return err
	}
	if err := s.step(context.Background(), DriverBegins); err != nil {
		return err
	}
	if err := os.WriteFile(driverPID(s.dir), []byte(strconv.Itoa(self.PID)), 0o600); err != nil {
		return err
	}
	monitor, err := net.Listen("unix", filepath.Join(s.dir.Path(), "qmp.sock"))
	if err != nil {
		return err
	}
	button := make(chan struct{})
	go serveMonitor(monitor, button)
	go func() {
		for presses := bufio.NewScanner(os.Stdin); presses.Scan(); {
			button <- struct{}{}
		}
	}()
	if err := s.write("boot " + self.String()); err != nil {
		return err
	}
	fmt.Println("up")
	deaf := make(chan os.Signal, 1)
	signal.Notify(deaf, syscall.SIGTERM)
	for {
		select {
		case <-button:
			if !s.faults.IgnorePower {
				// What the guest had not written yet.
				return s.write("shutdown " + self.String())
			}
		case <-deaf:
			return nil
		}
	}
}

// serveMonitor speaks as much of QEMU's protocol as it takes to press the power button, with one client at a time.
func serveMonitor(monitor net.Listener, button chan<- struct{}) {
	for {
		conn, err := monitor.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(conn, `{"QMP": {"version": {}, "capabilities": []}}`)
		able := false
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			switch command := lines.Text(); {
			case strings.Contains(command, `"qmp_capabilities"`):
				able = true
				fmt.Fprintln(conn, `{"return": {}}`)
			case able && strings.Contains(command, `"system_powerdown"`):
				fmt.Fprintln(conn, `{"timestamp": {}, "event": "POWERDOWN"}`)
				fmt.Fprintln(conn, `{"return": {}}`)
				button <- struct{}{}
			default:
				fmt.Fprintln(conn, `{"error": {"class": "CommandNotFound", "desc": "no such command"}}`)
			}
		}
		_ = conn.Close()
	}
}

func driverPID(dir instancedir.Dir) string { return filepath.Join(dir.Path(), "qemu.pid") }

func (s *standin) write(line string) error {
	file, err := os.OpenFile(Disk(s.dir), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line + "\n")
	return errors.Join(err, file.Sync(), file.Close())
}
