package lima

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// monitor is a QEMU whose monitor says what it is told to; what it was asked is in the channel.
func monitor(t *testing.T, greeting string, answers map[string]string) (socket string, asked chan string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "qmp.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	asked = make(chan string, 10)
	go func() {
		defer close(asked)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, greeting)
		buffer := make([]byte, 1024)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			command := strings.TrimSpace(string(buffer[:n]))
			asked <- command
			fmt.Fprint(conn, answers[command])
			if strings.Contains(answers[command], "SHUTDOWN") {
				return
			}
		}
	}()
	return socket, asked
}

const hello = `{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": ["oob"]}}` + "\r\n"

func TestPowerDown(t *testing.T) {
	able, down := `{"execute": "qmp_capabilities"}`, `{"execute": "system_powerdown"}`
	for name, test := range map[string]struct {
		greeting string
		answers  map[string]string
		want     string // in the error; empty for none
	}{
		"works": {hello, map[string]string{
			able: `{"return": {}}`, down: `{"event": "POWERDOWN"} {"return": {}} {"event": "SHUTDOWN", "data": {}}`,
		}, ""},
		"is not QEMU": {"HTTP/1.1 400 Bad Request\r\n", nil, "no greeting"},
		"refuses":     {hello, map[string]string{able: `{"return": {}}`, down: `{"error": {"class": "GenericError", "desc": "not now"}}`}, "not now"},
	} {
		t.Run(name, func(t *testing.T) {
			socket, asked := monitor(t, test.greeting, test.answers)
			err := powerDown(t.Context(), socket)
			if (err == nil) != (test.want == "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v", err)
			}
			var commands []string
			for command := range asked {
				commands = append(commands, command)
			}
			if text := strings.Join(commands, ""); test.greeting == hello && text != able+down {
				t.Errorf("asked %s", text)
			}
		})
	}
}

// TestPowerDownEndsWithItsContext has a monitor that accepts and never answers, and a guest that does not go down.
func TestPowerDownEndsWithItsContext(t *testing.T) {
	for name, answers := range map[string]string{"silent": "", "deaf": hello + `{"return": {}} {"return": {}}`} {
		t.Run(name, func(t *testing.T) {
			socket, _ := monitor(t, answers, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			if err := powerDown(ctx, socket); err == nil || ctx.Err() == nil {
				t.Errorf("got %v before its time was over", err)
			}
		})
	}
	if err := powerDown(t.Context(), filepath.Join(t.TempDir(), "nothing")); err == nil {
		t.Error("nobody was asked")
	}
}

// FuzzMonitor: whatever QEMU's monitor says, reading it comes to an end, and nothing but an answer is taken for one.
func FuzzMonitor(f *testing.F) {
	for _, said := range []string{hello, `{"return": {}}`, `{"event": "POWERDOWN"} {"error": {"desc": "not now"}}`, `{"return": null}`, "{", ""} {
		f.Add([]byte(said))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		err := execute(io.Discard, json.NewDecoder(bytes.NewReader(said)), "system_powerdown")
		lower := bytes.ToLower(said)
		if err == nil && !bytes.Contains(lower, []byte("return")) && !bytes.Contains(lower, []byte(`\u`)) { // letters may be escaped
			t.Errorf("%q was taken for an answer", said)
		}
	})
}
