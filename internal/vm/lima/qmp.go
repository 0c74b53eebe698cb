package lima

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// qmpTimeout bounds each answer of QEMU's monitor.
const qmpTimeout = 5 * time.Second

// powerDown presses the power button of the guest, on QEMU's monitor at socket, and returns nil when QEMU has ended, which
// closes the connection. It is not the library that Lima has for this: that one waits for ever where QEMU does not answer.
func powerDown(ctx context.Context, socket string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("cannot reach QEMU's monitor: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	answers := json.NewDecoder(conn)
	_ = conn.SetDeadline(time.Now().Add(qmpTimeout))
	var greeting struct {
		QMP json.RawMessage `json:"QMP"`
	}
	if err := answers.Decode(&greeting); err != nil || greeting.QMP == nil {
		return fmt.Errorf("cannot understand QEMU's monitor: no greeting: %w", errors.Join(err, ctx.Err()))
	}
	for _, command := range []string{"qmp_capabilities", "system_powerdown"} {
		if err := execute(conn, answers, command); err != nil {
			return fmt.Errorf("cannot shut the guest down: %w", errors.Join(err, ctx.Err()))
		}
	}
	_ = conn.SetDeadline(time.Time{}) // ctx ends the wait
	for {
		var event json.RawMessage
		if err := answers.Decode(&event); err != nil {
			return ctx.Err()
		}
	}
}

// execute runs a command on QEMU's monitor, past the events that come in between.
func execute(conn io.Writer, answers *json.Decoder, command string) error {
	if _, err := fmt.Fprintf(conn, "{\"execute\": %q}\n", command); err != nil {
		return err
	}
	for {
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		switch err := answers.Decode(&answer); {
		case err != nil:
			return err
		case answer.Error != nil:
			return fmt.Errorf("%s: %s", command, answer.Error.Desc)
		case answer.Return != nil:
			return nil
		}
	}
}
