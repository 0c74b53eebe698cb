package private

import (
	"fmt"
	"io/fs"
	"unsafe"

	"golang.org/x/sys/windows"
)

// problem looks for somebody who is let in beside the owner, the system and the administrators, who get in anyway.
func problem(path string, _ fs.FileInfo) (string, error) {
	descriptor, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return "", err
	}
	list, _, err := descriptor.DACL()
	if err != nil {
		return "", err
	}
	if list == nil {
		return "is open to everybody: it has no access list", nil
	}
	trusted, err := trustedUsers()
	if err != nil {
		return "", err
	}
	for i := range uint32(list.AceCount) {
		var entry *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, i, &entry); err != nil {
			return "", err
		}
		if entry.Header.AceType != windows.ACCESS_ALLOWED_ACE_TYPE {
			continue
		}
		who := (*windows.SID)(unsafe.Pointer(&entry.SidStart))
		if !isOneOf(who, trusted) {
			return fmt.Sprintf("is open to others: its access list names %s", who), nil
		}
	}
	return "", nil
}

func trustedUsers() ([]*windows.SID, error) {
	owner, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	trusted := []*windows.SID{owner.User.Sid}
	for _, kind := range []windows.WELL_KNOWN_SID_TYPE{windows.WinLocalSystemSid, windows.WinBuiltinAdministratorsSid, windows.WinCreatorOwnerSid} {
		sid, err := windows.CreateWellKnownSid(kind)
		if err != nil {
			return nil, err
		}
		trusted = append(trusted, sid)
	}
	return trusted, nil
}

func isOneOf(who *windows.SID, trusted []*windows.SID) bool {
	for _, sid := range trusted {
		if windows.EqualSid(who, sid) {
			return true
		}
	}
	return false
}

// Mend shuts others out of what was found to be open to them.
func Mend(path string) error { return restrict(path) }
