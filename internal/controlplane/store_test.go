package controlplane

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

func startError(t *testing.T, cfg Config) error {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err == nil {
		stop(t, s)
		t.Fatal("it starts")
	}
	return err
}

// filled is the directory of a control plane that has been used.
func filled(t *testing.T) Config {
	t.Helper()
	cfg := testConfig(t)
	s := start(t, cfg)
	c := client(t, s)
	for i := range 50 {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c" + strconv.Itoa(i)}, Data: map[string]string{"k": strings.Repeat("x", 2000)}}
		if _, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stop(t, s)
	return cfg
}

func TestStoreIsOneFileAfterStop(t *testing.T) {
	cfg := filled(t)
	entries, err := os.ReadDir(filepath.Dir(cfg.Store))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != 1 || names[0] != storeFile {
		t.Errorf("left behind: %v", names)
	}
	checkPrivate(t, cfg.Store)
}

// TestStoreFiles: a running store has no file that StoreFiles leaves out.
func TestStoreFiles(t *testing.T) {
	cfg := testConfig(t)
	start(t, cfg)
	entries, err := os.ReadDir(filepath.Dir(cfg.Store))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) < 3 {
		t.Errorf("there are only %v", entries)
	}
	for _, entry := range entries {
		if path := filepath.Join(filepath.Dir(cfg.Store), entry.Name()); !slices.Contains(StoreFiles(cfg.Store), path) {
			t.Errorf("%s is left out", path)
		}
	}
}

func TestCorruptStore(t *testing.T) {
	cfg := filled(t)
	path := cfg.Store
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	overwrite := func(from, to int) []byte {
		damaged := bytes.Clone(sound)
		for i := from; i < to; i++ {
			damaged[i] = 0xa5
		}
		return damaged
	}
	for name, content := range map[string][]byte{
		"empty":               {},
		"header":              overwrite(0, 16),
		"not a store":         []byte("this is a text, and not a short one\n"),
		"cut":                 sound[:len(sound)/2],
		"pages in the middle": overwrite(len(sound)/2, len(sound)/2+8192),
		"schema":              overwrite(100, 4096),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := CheckStore(t.Context(), path); !errors.Is(err, ErrCorruptStore) {
				t.Errorf("CheckStore: %v", err)
			}
			if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
				t.Errorf("checking left %v, %v", entries, err)
			}
			err := startError(t, cfg)
			if !errors.Is(err, ErrCorruptStore) {
				t.Errorf("want ErrCorruptStore, got %v", err)
			}
			for _, want := range []string{path, "copy", "move these files away"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %q", want, err)
				}
			}
			if got, _ := os.ReadFile(path); !bytes.Equal(got, content) {
				t.Error("the file was changed")
			}
		})
	}
	t.Run("log without file", func(t *testing.T) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+walSuffix, []byte("something"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := startError(t, cfg); !errors.Is(err, ErrCorruptStore) {
			t.Errorf("want ErrCorruptStore, got %v", err)
		}
		if err := os.Remove(path + walSuffix); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("restored", func(t *testing.T) {
		if err := os.WriteFile(path, sound, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := CheckStore(t.Context(), path); err != nil {
			t.Errorf("CheckStore: %v", err)
		}
		s := start(t, cfg)
		if _, err := client(t, s).CoreV1().ConfigMaps("default").Get(t.Context(), "c49", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func TestStorePathWithOddCharacters(t *testing.T) {
	cfg := testConfig(t)
	cfg.Store = filepath.Join(filepath.Dir(cfg.Store), "o'dd #1 100%25 & mehr ä", storeFile)
	s := start(t, cfg)
	stop(t, s)
	if _, err := os.Stat(cfg.Store); err != nil {
		t.Error(err)
	}
	start(t, cfg)
}

func TestDirectoryThatCannotBeWritten(t *testing.T) {
	t.Run("a file is in the way", func(t *testing.T) {
		cfg := testConfig(t)
		if err := os.WriteFile(filepath.Dir(cfg.Store), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := startError(t, cfg); !strings.Contains(err.Error(), filepath.Dir(cfg.Store)) {
			t.Error(err)
		}
	})
	t.Run("no permission", func(t *testing.T) {
		if os.Geteuid() <= 0 {
			t.Log("root may write everywhere, and Windows has no such directories")
			return
		}
		cfg := testConfig(t)
		parent := filepath.Dir(filepath.Dir(cfg.Store))
		if err := os.Chmod(parent, 0o500); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(parent, 0o700) })
		if err := startError(t, cfg); !errors.Is(err, fs.ErrPermission) {
			t.Error(err)
		}
	})
}

func TestListenerIsTheServers(t *testing.T) {
	listen := func() net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return listener
	}
	closed := func(listener net.Listener) {
		t.Helper()
		if err := listener.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the listener was left open: %v", err)
		}
	}
	cfg := testConfig(t)
	cfg.Listener = listen()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if want := cfg.Listener.Addr().String(); s.Address() != want {
		t.Errorf("it serves at %s, and should at %s", s.Address(), want)
	}
	stop(t, s)
	closed(cfg.Listener)

	bad := testConfig(t)
	bad.Listener, bad.Store = listen(), ""
	if err := startError(t, bad); err == nil {
		t.Error("it starts without a directory")
	}
	closed(bad.Listener)
}

func TestBadConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"Store":    func(c *Config) { c.Store = "" },
		"log":      func(c *Config) { c.Log = nil },
		"EventTTL": func(c *Config) { c.EventTTL = time.Millisecond },
	} {
		cfg := testConfig(t)
		change(&cfg)
		if err := startError(t, cfg); err == nil {
			t.Error(name)
		}
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Start(ctx, testConfig(t)); err == nil {
		stop(t, s)
		t.Error("it starts")
	} else if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestKill kills the control plane in the middle of writes, and looks for what it had said was written.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	cfg := childConfig{Dir: dir}
	acknowledged := map[string]string{} // name → resource version
	const rounds = 4
	for round := range rounds {
		server := startChild(t, cfg)
		c := childClient(t, dir)
		for name, version := range acknowledged {
			got, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatalf("round %d: lost %s: %v", round, name, err)
			}
			if got.ResourceVersion != version {
				t.Errorf("round %d: %s has version %s, want %s", round, name, got.ResourceVersion, version)
			}
		}
		written := make(chan *corev1.ConfigMap, 10000)
		ctx, cancel := context.WithCancel(t.Context())
		for worker := range 4 {
			go func() {
				for i := 0; ctx.Err() == nil; i++ {
					name := "r" + strconv.Itoa(round) + "w" + strconv.Itoa(worker) + "n" + strconv.Itoa(i)
					cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": strings.Repeat("y", 500)}}
					if got, err := c.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{}); err == nil {
						written <- got
					}
				}
			}()
		}
		for range 20 + round*37 {
			got := <-written
			acknowledged[got.Name] = got.ResourceVersion
		}
		server.kill()
		cancel()
		for {
			select {
			case got := <-written:
				acknowledged[got.Name] = got.ResourceVersion
				continue
			case <-time.After(100 * time.Millisecond):
			}
			break
		}
	}
	server := startChild(t, cfg)
	list, err := childClient(t, dir).CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, cm := range list.Items {
		found[cm.Name] = true
	}
	for name := range acknowledged {
		if !found[name] {
			t.Errorf("lost %s", name)
		}
	}
	t.Logf("%d writes acknowledged in %d rounds", len(acknowledged), rounds)
	server.stop(t)
}

func childClient(t *testing.T, dir string) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dir, "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
