package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/daemon"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/process"
)

// serveVerb is the first argument that makes this program a daemon, whose VMs are stand-ins. Home and stand-in follow.
const serveVerb = "serve"

// serve is the daemon.
func serve(home, standin string) (err error) {
	pipe, err := process.ExtraFile(0)
	if err != nil {
		return err
	}
	announcer := daemon.NewAnnouncer(pipe)
	defer func() {
		if err != nil {
			announcer.Failed(err)
		}
	}()
	cfg, err := daemonConfig(home, standin)
	if err != nil {
		return err
	}
	if cfg.Settings, _, err = daemon.LoadSettings(cfg.Instance); err != nil {
		return err
	}
	level, err := daemon.ParseLevel("warn")
	if err != nil {
		return err
	}
	cfg.Log = daemon.NewLogger(os.Stderr, level) // here only: it becomes klog's, which is one for the whole process
	cfg.Announce = announcer
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return daemon.Serve(ctx, cfg)
}

func daemonConfig(home, standin string) (daemon.Config, error) {
	inst, err := instance.New("faults", instance.Env{Home: home})
	if err != nil {
		return daemon.Config{}, err
	}
	return daemon.Config{
		Instance: inst, Version: "test", Executable: standin,
		Environ: []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "LIMA_HOME=" + inst.LimaHome()},
		Log:     slog.New(slog.DiscardHandler),
	}, nil
}

// site is an rdd instance with a real daemon, which is a process of its own, and whoever uses it through the API.
type site struct {
	*host
	top string // the user's home directory
	cfg daemon.Config
	api client.WithWatch
}

// newSite keeps to a port that the system has handed out: the default one may be taken by others any time.
func newSite(t *testing.T) *site {
	t.Helper()
	home, err := os.MkdirTemp("/tmp", "rdd") //nolint:usetesting // the path of a socket has a limit
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := daemonConfig(home, program)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{top: home, cfg: cfg, host: &host{T: t, home: cfg.Instance.LimaHome()}}
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(cfg.Instance.StderrLog())
			t.Logf("the daemon's log:\n%s", log)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := daemon.Stop(ctx, cfg.Instance, daemon.Stopping{Timeout: patience}); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.home); err == nil {
			s.endAll()
		}
		s.must(os.RemoveAll(home))
	})
	port, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	settings := daemon.DefaultSettings()
	settings.SecurePort = port.Addr().(*net.TCPAddr).Port
	s.must(errors.Join(port.Close(), daemon.MakeDirs(cfg.Instance), daemon.SaveSettings(cfg.Instance, settings)))
	return s
}

// launch starts a daemon, as "rdd svc start" does, and connects to it.
func (s *site) launch() {
	s.Helper()
	self, err := os.Executable()
	s.must(err)
	_, launched, err := daemon.Launch(s.Context(), daemon.Launching{
		Instance: s.cfg.Instance, Executable: self, Args: []string{serveVerb, s.top, program},
		Environ: s.cfg.Environ,
	})
	s.must(err)
	if !launched {
		s.Fatal("a daemon was taken for a running one")
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.cfg.Instance.Kubeconfig())
	s.must(err)
	scheme := runtime.NewScheme()
	s.must(errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)))
	s.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	s.must(err)
}

// await watches a kind until ok.
func (s *site) await(what string, list client.ObjectList, ok func() bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for ctx.Err() == nil {
		watch, err := s.api.Watch(ctx, list, client.InNamespace(corev1.NamespaceDefault))
		s.must(err)
		for open := true; open; _, open = <-watch.ResultChan() {
			if ok() {
				watch.Stop()
				return
			}
		}
	}
	s.Fatalf("there never was: %s; the VM is %+v", what, s.get())
}

// get returns nil when there is no VM.
func (s *site) get() *v1alpha1.LimaVM {
	s.Helper()
	obj := &v1alpha1.LimaVM{}
	err := s.api.Get(context.Background(), client.ObjectKey{Namespace: corev1.NamespaceDefault, Name: "one"}, obj)
	if apierrors.IsNotFound(err) {
		return nil
	}
	s.must(err)
	return obj
}

func (s *site) awaitVM(what string, ok func(obj *v1alpha1.LimaVM) bool) (got *v1alpha1.LimaVM) {
	s.Helper()
	s.await(what, &v1alpha1.LimaVMList{}, func() bool {
		got = s.get()
		return ok(got)
	})
	return got
}

func (s *site) awaitPhase(phase v1alpha1.Phase) *v1alpha1.LimaVM {
	s.Helper()
	return s.awaitVM(string(phase), func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.Phase == phase && obj.Status.ObservedGeneration == obj.Generation && len(obj.Annotations) == 0
	})
}

// strangers counts the Events that tell of one.
func (s *site) strangers() (n int) {
	s.Helper()
	var list corev1.EventList
	s.must(s.api.List(context.Background(), &list, client.InNamespace(corev1.NamespaceDefault)))
	for _, event := range list.Items {
		if event.Reason == v1alpha1.EventForeignProcess {
			n++
		}
	}
	return n
}

// patch changes the VM's object.
func (s *site) patch(change func(obj *v1alpha1.LimaVM)) {
	s.Helper()
	obj := s.get()
	before := obj.DeepCopy()
	change(obj)
	s.must(s.api.Patch(context.Background(), obj, client.MergeFrom(before)))
}

// make makes the VM, and the ConfigMap with its template.
func (s *site) make() {
	s.Helper()
	meta := metav1.ObjectMeta{Namespace: corev1.NamespaceDefault, Name: "one"}
	text := template + "vmType: qemu\nimages:\n- location: https://example.com/image.img\n  arch: x86_64\n"
	err := s.api.Create(context.Background(), &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{v1alpha1.TemplateKey: text}})
	if !apierrors.IsAlreadyExists(err) {
		s.must(err)
	}
	s.must(s.api.Create(context.Background(), &v1alpha1.LimaVM{
		ObjectMeta: meta, Spec: v1alpha1.LimaVMSpec{TemplateRef: v1alpha1.TemplateReference{Name: "one"}},
	}))
	s.awaitPhase(v1alpha1.PhaseStopped)
}

// killDaemon ends the daemon at once.
func (s *site) killDaemon() {
	s.Helper()
	record, err := daemon.Find(s.cfg.Instance)
	s.must(err)
	s.kill(record.Identity)
}

// plantDaemon makes a stranger the wearer of the PID that a dead daemon has left in its files.
func (s *site) plantDaemon(stranger process.Identity) {
	s.Helper()
	s.must(os.WriteFile(s.cfg.Instance.PIDFile(), []byte(strconv.Itoa(stranger.PID)), 0o600))
	stranger.StartTime--
	record := fmt.Sprintf(`{"pid":%d,"startTime":%d,"bootID":%q,"address":"127.0.0.1:1","ready":%q}`,
		stranger.PID, stranger.StartTime, stranger.BootID, time.Now().Format(time.RFC3339))
	s.must(os.WriteFile(s.cfg.Instance.RecordFile(), []byte(record), 0o600))
}

// TestStrangersSurviveTheDaemon has the PID of a living process that is none of ours turn up in every file of a VM, and of
// the daemon itself, before each thing that a user can ask for, of a real daemon.
//
// It fails when instancedir.Clear keeps the PID files or does not tell, and when the daemon takes whoever wears the PID in its
// record for its former self (process.Find in place of process.Open, in daemon.Find or daemon.Stop).
func TestStrangersSurviveTheDaemon(t *testing.T) {
	t.Parallel()
	stranger := neighbour(t)
	s := newSite(t)
	dir := s.dir("one")
	s.launch()
	s.make()
	// told does something that clears the files of the VM.
	events := 0
	told := func(do func()) {
		t.Helper()
		do()
		want := events + len(pidFiles())
		s.await("Events of all strangers", &corev1.EventList{}, func() bool {
			events = s.strangers()
			return events >= want
		})
	}
	set := func(running bool) func(*v1alpha1.LimaVM) {
		return func(obj *v1alpha1.LimaVM) { obj.Spec.Running = running }
	}
	ask := func(annotation string) func(*v1alpha1.LimaVM) {
		return func(obj *v1alpha1.LimaVM) { obj.Annotations = map[string]string{annotation: "now"} }
	}
	start := func() *v1alpha1.LimaVM { s.patch(set(true)); return s.awaitPhase(v1alpha1.PhaseRunning) }
	plant := func(dead bool) {
		t.Helper()
		plantPIDs(t, dir, stranger)
		plantLedger(t, dir, stranger, dead)
		if dead {
			plantRecord(t, dir, stranger)
		}
	}
	another := func(before *v1alpha1.LimaVM) func(obj *v1alpha1.LimaVM) bool {
		return func(obj *v1alpha1.LimaVM) bool {
			return obj.Status.Phase == v1alpha1.PhaseRunning && obj.Status.Host.Identity != before.Status.Host.Identity
		}
	}

	told(func() { plant(true); start() })
	told(func() { plant(false); s.patch(set(false)); s.awaitPhase(v1alpha1.PhaseStopped) })
	start()
	told(func() {
		plant(false)
		s.patch(func(obj *v1alpha1.LimaVM) { set(false)(obj); ask(v1alpha1.AnnotationForceStop)(obj) })
		s.awaitPhase(v1alpha1.PhaseStopped)
	})
	before := start()
	told(func() {
		plant(false)
		s.patch(ask(v1alpha1.AnnotationRestart))
		s.awaitVM("a restart", another(before))
	})
	if boots := s.boots("one"); len(boots) != 4 || !boots[0] || !boots[2] || boots[3] {
		t.Errorf("boots: %v, want them shut down but for the one by force and the last", boots)
	}
	before = s.get()
	told(func() {
		plant(false)
		s.patch(ask(v1alpha1.AnnotationReset))
		s.awaitVM("a reset", another(before))
	})
	if boots := s.boots("one"); len(boots) != 1 {
		t.Errorf("after a reset, boots: %v", boots)
	}

	// The daemon dies, and the next one adopts.
	before = s.awaitPhase(v1alpha1.PhaseRunning)
	s.killDaemon()
	plant(false)
	s.plantDaemon(stranger)
	if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: time.Second}); was || err != nil {
		t.Errorf("Stop of a dead daemon: %t, %v", was, err)
	}
	s.launch()
	s.awaitVM("an adoption", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.Phase == v1alpha1.PhaseRunning && obj.Status.Host.Adopted && obj.Status.Host.Identity == before.Status.Host.Identity
	})

	// Daemon and agent die, and the next daemon starts the VM anew.
	family, err := process.ReadFamily(dir.Ledger())
	s.must(err)
	s.killDaemon()
	s.kill(family.Head)
	plant(true)
	s.plantDaemon(stranger)
	told(func() { s.launch(); s.awaitVM("another agent", another(before)) })

	// svc stop ends what is in the record, whatever is in the PID file.
	plant(false)
	s.must(os.WriteFile(s.cfg.Instance.PIDFile(), []byte(strconv.Itoa(stranger.PID)), 0o600))
	if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience}); !was || err != nil {
		t.Errorf("Stop: %t, %v", was, err)
	}
	s.expectTidy("one")
	plant(true)
	told(func() { s.launch(); s.awaitPhase(v1alpha1.PhaseRunning) })

	told(func() {
		plant(false)
		s.must(s.api.Delete(t.Context(), s.get()))
		s.awaitVM("a deletion", func(obj *v1alpha1.LimaVM) bool { return obj == nil })
	})

	// svc delete, of a dead daemon with a VM that still runs.
	s.make()
	start()
	members := s.family("one")
	s.killDaemon()
	plant(false)
	s.plantDaemon(stranger)
	s.must(daemon.Remove(t.Context(), s.cfg))
	s.expectGone(members)
	for _, path := range []string{s.cfg.Instance.Dir, s.cfg.Instance.ShortDir} {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

// TestHungDaemonIsEnded: after its deadline, and only itself. The next daemon takes its VM over. It fails when daemon.Stop uses
// no force, or does not wait for what that does.
func TestHungDaemonIsEnded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.launch()
	s.make()
	s.patch(func(obj *v1alpha1.LimaVM) { obj.Spec.Running = true })
	before := s.awaitPhase(v1alpha1.PhaseRunning)
	record, err := daemon.Find(s.cfg.Instance)
	s.must(err)
	s.must(exec.Command("/bin/kill", "-STOP", strconv.Itoa(record.PID)).Run())

	was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: time.Second})
	if !was || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop: %t, %v", was, err)
	}
	s.expectGone([]process.Identity{record.Identity})
	s.launch()
	s.awaitVM("an adoption", func(obj *v1alpha1.LimaVM) bool {
		return obj.Status.Host != nil && obj.Status.Host.Adopted && obj.Status.Host.Identity == before.Status.Host.Identity
	})
	members := s.family("one")
	if was, err := daemon.Stop(t.Context(), s.cfg.Instance, daemon.Stopping{Timeout: patience}); !was || err != nil {
		t.Errorf("Stop: %t, %v", was, err)
	}
	s.expectGone(members)
	s.expectTidy("one")
}
