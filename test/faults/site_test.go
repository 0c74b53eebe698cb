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
	"github.com/seed-192657fa/rdd/internal/logging"
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
	level, err := logging.ParseLevel("warn")
	if err != nil {
		return err
	}
	cfg.Log = logging.New(os.Stderr, level) // here only: it becomes klog's, which is one for the whole process
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
	// What runs the daemon, which is this program unless it takes another.
	program string
	args    []string
}

// newBuiltSite has the daemon of test/daemon, which is rdd as users have it but for its VMs, built with a tag or without one.
func newBuiltSite(t *testing.T, build func() (string, error)) *site {
	t.Helper()
	built, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.program, s.args = built, []string{"--instance=" + s.cfg.Instance.Name, "svc", "serve", "--launched"}
	s.cfg.Environ = append(s.cfg.Environ, "RDD_LOG_LEVEL=warn")
	return s
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
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{
		top: home, cfg: cfg, host: &host{T: t, home: cfg.Instance.LimaHome()},
		program: self, args: []string{serveVerb, home, program},
	}
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
	s.must(s.tryLaunch())
}

func (s *site) tryLaunch() error {
	_, launched, err := daemon.Launch(s.Context(), daemon.Launching{
		Instance: s.cfg.Instance, Executable: s.program, Args: s.args, Environ: s.cfg.Environ,
	})
	if err == nil && !launched {
		err = errors.New("a daemon was taken for a running one")
	}
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.cfg.Instance.Kubeconfig())
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return err
	}
	s.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme})
	return err
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
	s.Fatalf("there never was: %s", what)
}

// get returns nil when there is no VM.
func (s *site) get(name string) *v1alpha1.LimaVM {
	s.Helper()
	obj := &v1alpha1.LimaVM{}
	err := s.api.Get(context.Background(), client.ObjectKey{Namespace: corev1.NamespaceDefault, Name: name}, obj)
	if apierrors.IsNotFound(err) {
		return nil
	}
	s.must(err)
	return obj
}

func (s *site) awaitVM(name, what string, ok func(obj *v1alpha1.LimaVM) bool) (got *v1alpha1.LimaVM) {
	s.Helper()
	defer func() {
		if s.Failed() {
			s.Logf("%s is %+v", name, got)
		}
	}()
	s.await(what+" of "+name, &v1alpha1.LimaVMList{}, func() bool {
		got = s.get(name)
		return ok(got)
	})
	return got
}

func (s *site) awaitPhase(name string, phase v1alpha1.Phase) *v1alpha1.LimaVM {
	s.Helper()
	return s.awaitVM(name, string(phase), func(obj *v1alpha1.LimaVM) bool {
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
func (s *site) patch(name string, change func(obj *v1alpha1.LimaVM)) {
	s.Helper()
	obj := s.get(name)
	before := obj.DeepCopy()
	change(obj)
	s.must(s.api.Patch(context.Background(), obj, client.MergeFrom(before)))
}

// wantRunning and ask are changes of a VM's object: what it is to be, and what is to be done once.
func wantRunning(running bool) func(*v1alpha1.LimaVM) {
	return func(obj *v1alpha1.LimaVM) { obj.Spec.Running = running }
}

func ask(annotation string) func(*v1alpha1.LimaVM) {
	return func(obj *v1alpha1.LimaVM) { obj.Annotations = map[string]string{annotation: "now"} }
}

// make makes a VM, and the ConfigMap with its template.
func (s *site) make(name string) {
	s.Helper()
	s.makeFrom(name, ordinary)
}

// ordinary is a template whose VM is a stand-in.
const ordinary = template + "vmType: qemu\nimages:\n- location: https://example.com/image.img\n  arch: x86_64\n"

func (s *site) makeFrom(name, text string) {
	s.Helper()
	s.must(s.declare(name, text))
	s.awaitPhase(name, v1alpha1.PhaseStopped)
}

// declare makes the object of a VM, and its template where there is none of that name.
func (s *site) declare(name, text string) error {
	meta := metav1.ObjectMeta{Namespace: corev1.NamespaceDefault, Name: name}
	err := s.api.Create(context.Background(), &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{v1alpha1.TemplateKey: text}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return s.api.Create(context.Background(), &v1alpha1.LimaVM{
		ObjectMeta: meta, Spec: v1alpha1.LimaVMSpec{TemplateRef: v1alpha1.TemplateReference{Name: name}},
	})
}

// freeze stops processes, so that none of them notices the end of another.
func (s *site) freeze(ids ...process.Identity) {
	s.Helper()
	for _, id := range ids {
		s.must(exec.Command("/bin/kill", "-STOP", strconv.Itoa(id.PID)).Run())
	}
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
