package daemon

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/seed-192657fa/rdd/internal/controllers/limavm"
	"github.com/seed-192657fa/rdd/internal/template"
	"github.com/seed-192657fa/rdd/internal/vm"
)

// group is that of all controllers there are.
const group = "lima"

// CheckGroup tells whether there are controllers of a group.
func CheckGroup(name string) error {
	if name != group {
		return fmt.Errorf("there are no controllers of group %q; the only group is %q", name, group)
	}
	return nil
}

// items splits a list of controllers.
func items(list string) []string {
	var found []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			found = append(found, item)
		}
	}
	return found
}

// checkControllers tells what in a list of controllers is the name of none: "-other" would run nothing, silently.
func checkControllers(list string) error {
	for _, item := range items(list) {
		if name := strings.TrimPrefix(item, "-"); name != "*" && name != group && name != limavm.Name {
			return fmt.Errorf("there is no controller %q: a list may have the group %q, the controller %q, * for all, and a leading - to leave one out",
				name, group, limavm.Name)
		}
	}
	return nil
}

// runs tells whether a list of controllers ("*", names or groups, a leading "-" to leave one out) asks for one. The last item
// about it counts; a list that only leaves out has all others.
func runs(list, name string) bool {
	all := items(list)
	wanted := len(all) > 0 && !slices.ContainsFunc(all, func(item string) bool { return !strings.HasPrefix(item, "-") })
	for _, item := range all {
		item, without := strings.CutPrefix(item, "-")
		if item == "*" || item == name || item == group && name == limavm.Name {
			wanted = !without
		}
	}
	return wanted
}

// setUp adds the controllers of VMs to a manager, in the daemon or outside.
func setUp(to manager.Manager, driver vm.Driver, changes *limavm.Changes, metrics *limavm.Metrics, log *slog.Logger) error {
	return limavm.SetupWithManager(to, limavm.Config{
		Driver: driver, Changes: changes, Metrics: metrics, Log: log,
		Templates: limavm.Templates{Validate: template.Validate, MergeParams: template.MergeParams},
	})
}
