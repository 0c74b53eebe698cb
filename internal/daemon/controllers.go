package daemon

import (
	"slices"
	"strings"
)

// group is that of all controllers there are.
const group = "lima"

// runs tells whether a list of controllers ("*", names or groups, a leading "-" to leave one out) asks for one.
func runs(list, name string) bool {
	wanted := false
	for _, item := range strings.Split(list, ",") {
		item = strings.TrimSpace(item)
		item, without := strings.CutPrefix(item, "-")
		if slices.Contains([]string{"*", group, name}, item) {
			wanted = !without
		}
	}
	// "-lima" alone means all but that one; with a single controller there is no other.
	return wanted
}
