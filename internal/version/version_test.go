package version

import (
	"errors"
	"testing"
)

func TestAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		args  []string
		fails error
		want  string
	}{
		"the command":                {args: []string{"rdd", "version"}, want: "rdd 0.0.0-dev\n"},
		"the flag":                   {args: []string{"/usr/bin/rdd", "--version"}, want: "rdd 0.0.0-dev\n"},
		"on Windows":                 {args: []string{"rdd.exe", "version"}, want: "rdd 0.0.0-dev\n"},
		"no arguments at all":        {},
		"no command":                 {args: []string{"rdd"}},
		"another command":            {args: []string{"rdd", "up"}},
		"another format":             {args: []string{"rdd", "version", "--output=json"}},
		"another flag":               {args: []string{"rdd", "--quiet", "version"}},
		"kubectl's":                  {args: []string{"kubectl", "version"}},
		"nobody who can be answered": {args: []string{"rdd", "version"}, fails: errors.New("broken pipe")},
	} {
		t.Run(name, func(t *testing.T) {
			written, exited := "", false
			answered := answer(tc.args, func(text string) (int, error) {
				if tc.fails != nil {
					return 0, tc.fails
				}
				written += text
				return len(text), nil
			}, func(code int) { exited = code == 0 })
			if written != tc.want || answered != (tc.want != "") || exited != answered {
				t.Errorf("answer(%q) wrote %q, answered: %t, exit code 0: %t; want %q", tc.args, written, answered, exited, tc.want)
			}
		})
	}
}
