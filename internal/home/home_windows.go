package home

import "os/user"

func defaults(getenv func(string) string) []variable {
	if getenv("USERPROFILE") != "" {
		return nil
	}
	current, err := user.Current()
	if err != nil || current.HomeDir == "" {
		return []variable{{"USERPROFILE", unknown}}
	}
	return []variable{{"USERPROFILE", current.HomeDir}}
}
