package home

import (
	"os"
	"os/user"
	"strconv"
)

func defaults(getenv func(string) string) []variable {
	if getenv("HOME") != "" {
		return nil
	}
	entry, err := user.LookupId(strconv.Itoa(os.Getuid()))
	if err != nil || entry.HomeDir == "" {
		return []variable{{"HOME", unknown}}
	}
	return []variable{{"HOME", entry.HomeDir}}
}
