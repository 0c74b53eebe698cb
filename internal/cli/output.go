package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// format holds the flags of a command that prints results.
type format struct {
	output    string
	allowed   []string
	noHeaders bool
}

func formatFlags(cmd *cobra.Command, allowed ...string) *format {
	f := &format{allowed: allowed}
	cmd.Flags().StringVarP(&f.output, "output", "o", allowed[0], strings.Join(allowed, ", "))
	if allowed[0] == "table" {
		cmd.Flags().BoolVar(&f.noHeaders, "no-headers", false, "print no header line")
	}
	previous := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(f.allowed, f.output) {
			return usagef("unknown output format %q: it must be one of %s", f.output, strings.Join(f.allowed, ", "))
		}
		if previous != nil {
			return previous(cmd, args)
		}
		return nil
	}
	return f
}

// table prints rows, the header first, in columns.
func (f *format) table(w io.Writer, rows [][]string) error {
	if f.noHeaders {
		rows = rows[1:]
	}
	var aligned strings.Builder
	columns := tabwriter.NewWriter(&aligned, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(columns, strings.Join(row, "\t"))
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	// Not before: a column is only as wide as those of its cells that another one follows.
	for line := range strings.Lines(aligned.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// data prints a value as JSON or YAML.
func (f *format) data(w io.Writer, value any) error {
	content, err := json.MarshalIndent(value, "", "  ")
	if err == nil && f.output == "yaml" {
		content, err = yaml.JSONToYAML(content)
	}
	if err != nil {
		return fmt.Errorf("cannot print the result: %w", err)
	}
	_, err = fmt.Fprintln(w, strings.TrimRight(string(content), "\n"))
	return err
}

// columns prints rows that come one by one, each as wide as any before it.
type columns struct {
	w      io.Writer
	quiet  bool // print no header
	widths []int
}

// header prints the header, with columns as wide as the rows that are known already want them.
func (c *columns) header(known [][]string, cells ...string) {
	for i, cell := range cells {
		width := len(cell)
		for _, row := range known {
			width = max(width, len([]rune(row[i])))
		}
		c.widths = append(c.widths, width)
	}
	if !c.quiet {
		_ = c.row(cells...)
	}
}

func (c *columns) row(cells ...string) error {
	var line strings.Builder
	for i, cell := range cells {
		c.widths[i] = max(c.widths[i], len([]rune(cell)))
		fmt.Fprintf(&line, "%-*s   ", c.widths[i], cell)
	}
	_, err := fmt.Fprintln(c.w, strings.TrimRight(line.String(), " "))
	return err
}
