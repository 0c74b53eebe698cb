package private_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/seed-192657fa/rdd/internal/private"
)

// listFor makes an access list of one entry.
func listFor(t *testing.T, sid *windows.SID) *windows.ACL {
	t.Helper()
	list, err := windows.ACLFromEntries([]windows.EXPLICIT_ACCESS{{
		AccessPermissions: windows.GENERIC_ALL, AccessMode: windows.GRANT_ACCESS, Inheritance: windows.SUB_CONTAINERS_AND_OBJECTS_INHERIT,
		Trustee: windows.TRUSTEE{TrusteeForm: windows.TRUSTEE_IS_SID, TrusteeValue: windows.TrusteeValueFromSID(sid)},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// letIn gives a path an access list for those whom kind stands for.
func letIn(t *testing.T, path string, kind windows.WELL_KNOWN_SID_TYPE) {
	t.Helper()
	sid, err := windows.CreateWellKnownSid(kind)
	if err != nil {
		t.Fatal(err)
	}
	err = windows.SetNamedSecurityInfo(path, windows.SE_FILE_OBJECT,
		windows.DACL_SECURITY_INFORMATION|windows.PROTECTED_DACL_SECURITY_INFORMATION, nil, nil, listFor(t, sid), nil)
	if err != nil {
		t.Fatal(err)
	}
}

// closedDir is a directory that lets nobody but its owner in. Wine has what lies in a directory inherit from it even where that is
// refused, and a usual one of its lets everybody in.
func closedDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		t.Fatal(err)
	}
	handle, err := windows.CreateFile(name, windows.WRITE_DAC|windows.READ_CONTROL,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = windows.CloseHandle(handle) }()
	owner, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		t.Fatal(err)
	}
	descriptor, err := windows.NewSecurityDescriptor()
	if err != nil {
		t.Fatal(err)
	}
	if err := descriptor.SetDACL(listFor(t, owner.User.Sid), true, false); err != nil {
		t.Fatal(err)
	}
	if err := windows.SetKernelObjectSecurity(handle, windows.DACL_SECURITY_INFORMATION, descriptor); err != nil {
		t.Fatal(err)
	}
	return dir
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
	dir := filepath.Join(closedDir(t), "new")
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
	// Wine has a new file inherit nothing: it gets a mode as on Unix.
	wine := windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
	if found := problem(t, file); found != "" && !wine {
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
