package controlplane

import (
	"testing"

	"golang.org/x/sys/windows"
)

func checkPrivate(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
		if err != nil {
			t.Fatal(err)
		}
		dacl, _, err := sd.DACL()
		if err != nil {
			t.Fatal(err)
		}
		if dacl.AceCount != 1 {
			t.Errorf("%s: %s", path, sd)
		}
	}
}
