// Command man writes the manual, a page for each command of rdd, for packages to install. It is a program of its own so that what
// formats manual pages is not part of rdd.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/seed-192657fa/rdd/internal/cli"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// run takes the directory, which must exist, the version, and the date of the pages (2006-01-02): equal sources make equal pages.
func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: man DIRECTORY VERSION DATE, not %q", args)
	}
	date, err := time.Parse(time.DateOnly, args[2])
	if err != nil {
		return fmt.Errorf("cannot date the manual: %w", err)
	}
	root := cli.Commands()
	root.DisableAutoGenTag = true
	header := &doc.GenManHeader{Title: "RDD", Section: "1", Source: "rdd " + args[1], Manual: "rdd", Date: &date}
	if err := doc.GenManTree(root, header, args[0]); err != nil {
		return fmt.Errorf("cannot write the manual: %w", err)
	}
	return nil
}
