package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/seed-192657fa/rdd/api/lima/v1alpha1"
	"github.com/seed-192657fa/rdd/internal/instance"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// TestSvcStatusHasTheSum: of two VMs, one of which was stopped by force.
func TestSvcStatusHasTheSum(t *testing.T) {
	p := newPlane(t)
	file := p.file("dev.yaml", goodTemplate)
	p.want(0, "", "vm", "create", "dev", file)
	p.want(0, "", "vm", "create", "other", file)
	p.want(0, "", "vm", "start", "dev")
	p.want(0, "", "vm", "stop", "dev")
	p.want(0, "", "vm", "start", "dev")
	p.must(change(t.Context(), p.api, p.vm("dev"), func(vm *v1alpha1.LimaVM) { vm.Spec.StopGracePeriodSeconds = ptr.To[int32](0) }))
	release := p.hang(vm.OpStop)
	defer release()
	p.want(0, "", "vm", "stop", "dev")
	p.want(0, `(?s)vms +2 Stopped\nrestarts +2\nforced stops +1\nforeign processes +0\n`, "svc", "status")
	var status serviceStatus
	p.must(json.Unmarshal([]byte(p.want(0, "", "svc", "status", "-o", "json")), &status))
	if status.VMs["Stopped"] != 2 || *status.Restarts != 2 || *status.ForcedStops != 1 || *status.ForeignProcesses != 0 {
		t.Errorf("%+v", status)
	}
}

// TestMetricsDocument follows docs/metrics.md to the metrics, and looks each one up that is named there, on the dashboard and in
// the rules. Ours are all to be documented.
func TestMetricsDocument(t *testing.T) {
	p := newPlane(t)
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		p.must(err)
		return string(text)
	}
	document := read("metrics.md")
	var token string
	commands := regexp.MustCompile(`(?m)^rdd (ctl .*)$`).FindAllStringSubmatch(document, -1)
	for _, command := range commands {
		token = p.want(0, "", strings.Fields(command[1])...)
	}
	if len(commands) == 0 {
		t.Fatal("docs/metrics.md has no commands")
	}
	scraped := p.scrape(strings.TrimSpace(token))

	var rules struct {
		Groups []struct {
			Rules []struct{ Record, Expr string }
		}
	}
	p.must(yaml.Unmarshal([]byte(read("metrics/rules.yaml")), &rules))
	var dashboard struct {
		Panels []struct {
			Targets []struct{ Expr string }
		}
	}
	p.must(json.Unmarshal([]byte(read("metrics/dashboard.json")), &dashboard))
	expressions := map[string][]string{}
	for _, rule := range rules.Groups[0].Rules {
		expressions["rules.yaml"] = append(expressions["rules.yaml"], rule.Expr)
		if rule.Record != "" {
			scraped += "\n" + rule.Record + " 1"
		}
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			expressions["dashboard.json"] = append(expressions["dashboard.json"], target.Expr)
		}
	}
	for _, match := range regexp.MustCompile("`([a-z]+_[a-z_]+)`").FindAllStringSubmatch(document, -1) {
		expressions["metrics.md"] = append(expressions["metrics.md"], match[1])
	}

	name := regexp.MustCompile(`\b(rdd|apiserver|process|go|etcd)[_:][a-z0-9_:]+`)
	for file, all := range expressions {
		if len(all) < 7 {
			t.Errorf("%s has only %d expressions", file, len(all))
		}
		for _, expression := range all {
			for _, metric := range name.FindAllString(expression, -1) {
				if !regexp.MustCompile(`(?m)^(# TYPE )?` + metric + `[ {]`).MatchString(scraped) {
					t.Errorf("%s names %s, which no scrape has", file, metric)
				}
			}
		}
	}
	for _, match := range regexp.MustCompile(`(?m)^# TYPE (rdd_\S+)`).FindAllStringSubmatch(scraped, -1) {
		if !slices.Contains(expressions["metrics.md"], match[1]) {
			t.Errorf("docs/metrics.md does not tell of %s", match[1])
		}
	}
}

// scrape reads the metrics as Prometheus does.
func (p *plane) scrape(token string) string {
	p.Helper()
	inst, err := instance.New("", instance.Env{Home: p.home})
	p.must(err)
	config, err := clientcmd.BuildConfigFromFlags("", inst.Kubeconfig())
	p.must(err)
	config = rest.AnonymousClientConfig(config)
	config.BearerToken = token
	client, err := rest.HTTPClientFor(config)
	p.must(err)
	response, err := client.Get(config.Host + "/metrics")
	p.must(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	p.must(err)
	if response.StatusCode != http.StatusOK {
		p.Fatalf("%s: %s", response.Status, body)
	}
	return string(body)
}
