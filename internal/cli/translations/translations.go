// Package translations owns when kubectl's texts are translated: only for users whose language is another than English.
//
// kubectl translates its help while its packages are initialised, and for that unpacks a catalogue, also when that maps
// English to English: 10 ms and 4 MB at the start of every rdd command and every agent of a VM. The one way in is a function
// that has to be set before any of kubectl's command packages is initialised. This package imports nothing but the package
// that takes it, and Go initialises packages that are ready in the order of their paths, so that it comes first.
package translations

import (
	"os"
	"strings"

	"k8s.io/kubectl/pkg/util/i18n"
)

var _ = i18n.SetLoadTranslationsFunc(func() error {
	if isEnglish(os.Getenv("LC_ALL"), os.Getenv("LC_MESSAGES"), os.Getenv("LANG")) {
		return nil
	}
	return i18n.LoadTranslations("kubectl", nil)
})

// isEnglish looks at the first setting that is not empty, as gettext does.
func isEnglish(settings ...string) bool {
	for _, setting := range settings {
		if setting != "" {
			return setting == "C" || strings.HasPrefix(setting, "C.") || setting == "POSIX" || strings.HasPrefix(setting, "en")
		}
	}
	return true
}
