package home

import (
	"os"
	"strconv"
	"strings"
)

// defaults reads the file that package user would: Lima's packages are initialised as soon as that one is.
func defaults(getenv func(string) string) []variable {
	if getenv("HOME") != "" && getenv("USER") != "" {
		return nil
	}
	passwd, _ := os.ReadFile("/etc/passwd") // who has none has no entry
	return entryOf(string(passwd), strconv.Itoa(os.Getuid()))
}

// entryOf is what a file like /etc/passwd says about a user. Where there is no entry, package user wants both variables.
func entryOf(passwd, uid string) []variable {
	for _, line := range strings.Split(passwd, "\n") {
		fields := strings.Split(line, ":")
		if len(fields) < 6 || fields[2] != uid {
			continue
		}
		if fields[5] == "" {
			return []variable{{"HOME", unknown}}
		}
		return []variable{{"HOME", fields[5]}}
	}
	return []variable{{"HOME", unknown}, {"USER", uid}}
}
