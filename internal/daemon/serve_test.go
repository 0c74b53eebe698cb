package daemon

import (
	"net"
	"strconv"
	"strings"
	"testing"
)

func TestListen(t *testing.T) {
	inst := newInstance(t)
	if err := MakeDirs(inst); err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := portOf(taken)
	_, err = listen(&Config{Instance: inst, Settings: Settings{SecurePort: port}})
	if err == nil || !strings.Contains(err.Error(), "--secure-port") || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Errorf("a port that was asked for and is taken: %v", err)
	}
	first, err := listen(&Config{Instance: inst, Settings: Settings{LastPort: port}})
	if err != nil || portOf(first) == port {
		t.Fatalf("a remembered port that is taken: %v, %v", first, err)
	}
	defer first.Close()
	saved, _, err := LoadSettings(inst)
	if err != nil || saved.LastPort != portOf(first) {
		t.Errorf("the settings remember port %d, %v; want %d", saved.LastPort, err, portOf(first))
	}
	// Another instance that looks for a port at the same time.
	second, err := listen(&Config{Instance: inst, Settings: saved})
	if err != nil || portOf(second) == portOf(first) {
		t.Fatalf("a port that was chosen a moment ago: %v, %v", second, err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
}

func portOf(listener net.Listener) int { return listener.Addr().(*net.TCPAddr).Port }
