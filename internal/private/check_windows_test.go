package private_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/seed-192657fa/rdd/internal/private"
)

// letIn gives a path an access list of one entry, for everybody whom sid stands for.
func letIn(t *testing.T, path string, kind windows.WELL_KNOWN_SID_TYPE) {
	t.Helper()
	sid, err := windows.CreateWellKnownSid(kind)
	if err != nil {
		t.Fatal(err)
	}
	list, err := windows.ACLFromEntries([]windows.EXPLICIT_ACCESS{{
		AccessPermissions: windows.GENERIC_READ, AccessMode: windows.GRANT_ACCESS,
		Trustee: windows.TRUSTEE{TrusteeForm: windows.TRUSTEE_IS_SID, TrusteeValue: windows.TrusteeValueFromSID(sid)},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, list, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func problem(t *testing.T, path string) string {
	t.Helper()
	found, err := private.Problem(path)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestAccessLists: what MkdirAll makes is the owner's alone, and so is what Mend has closed.
func TestAccessLists(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := private.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	if found := problem(t, dir); found != "" {
		t.Errorf("what was made %s", found)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if found := problem(t, file); found != "" {
		t.Errorf("a file in it %s", found)
	}
	for _, path := range []string{dir, file} {
		letIn(t, path, windows.WinWorldSid)
		if found := problem(t, path); !strings.Contains(found, "open to others") {
			t.Errorf("open to everybody, it was found: %q", found)
		}
		if err := private.Mend(path); err != nil {
			t.Fatal(err)
		}
		if found := problem(t, path); found != "" {
			t.Errorf("mended, it %s", found)
		}
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "secret" {
		t.Errorf("the owner reads %q, %v", content, err)
	}
	letIn(t, file, windows.WinLocalSystemSid)
	if found := problem(t, file); found != "" {
		t.Errorf("open to the system, it %s", found)
	}
}
