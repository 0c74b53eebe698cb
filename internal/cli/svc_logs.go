package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/nxadm/tail"
	"github.com/spf13/cobra"

	"github.com/seed-192657fa/rdd/internal/daemon"
)

// logView is how much of a log is printed.
type logView struct {
	followed bool
	last     int
}

func logFlags(cmd *cobra.Command) *logView {
	v := &logView{}
	cmd.Flags().BoolVarP(&v.followed, "follow", "f", false, "go on printing what is added")
	cmd.Flags().IntVar(&v.last, "tail", -1, "print this many of the last lines; -1 means all")
	return v
}

func (a *app) svcLogsCommand() *cobra.Command {
	var v *logView
	var stdout, previous bool
	cmd := &cobra.Command{
		Use: "logs", Short: "Print the log of the control plane", Args: cobra.NoArgs,
		Example: "  rdd svc logs\n  rdd svc logs --tail 20\n  rdd svc logs --previous",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if previous && v.followed {
				return usagef("either --previous or --follow, not both: nothing is added to a log of the past")
			}
			inst, err := a.instance()
			if err != nil {
				return err
			}
			path := inst.StderrLog()
			if stdout {
				path = inst.StdoutLog()
			}
			if previous {
				if path, err = daemon.PreviousLog(path); errors.Is(err, fs.ErrNotExist) {
					return notFoundf("no log of the past is kept in %s", inst.LogDir)
				} else if err != nil {
					return err
				}
			}
			return a.printLog(cmd.Context(), path, v)
		},
	}
	v = logFlags(cmd)
	cmd.Flags().BoolVar(&stdout, "stdout", false, "what it wrote to its standard output instead")
	cmd.Flags().BoolVarP(&previous, "previous", "p", false, "the newest log of the past instead, say of a control plane that died")
	return cmd
}

// printLog prints a file and, if followed, what is added to it, until ctx ends.
func (a *app) printLog(ctx context.Context, path string, v *logView) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if v.followed {
			return a.followLog(ctx, path, 0)
		}
		return notFoundf("there is no log yet: %s does not exist", path)
	}
	if err != nil {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	defer file.Close()
	from, err := lastLines(file, v.last)
	if err != nil {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	if v.followed {
		return a.followLog(ctx, path, from)
	}
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	_, err = io.Copy(a.Stdout, file)
	return err
}

// lastLines tells where the last lines of a file begin; fewer than none are all.
func lastLines(file *os.File, lines int) (int64, error) {
	if lines < 0 {
		return 0, nil
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	end := info.Size()
	if lines == 0 {
		return end, nil
	}
	buffer := make([]byte, 64<<10)
	for at := end; at > 0; {
		chunk := buffer[:min(at, int64(len(buffer)))]
		at -= int64(len(chunk))
		if _, err := file.ReadAt(chunk, at); errors.Is(err, io.EOF) {
			return 0, nil // it was emptied meanwhile
		} else if err != nil {
			return 0, err
		}
		for i := bytes.LastIndexByte(chunk, '\n'); i >= 0; i = bytes.LastIndexByte(chunk[:i], '\n') {
			next := at + int64(i) + 1
			if next == end {
				continue // no line begins here
			}
			if lines--; lines == 0 {
				return next, nil
			}
		}
	}
	return 0, nil
}

// followLog asks again and again for what is added: a watch, as this library sets one up, misses what is written between the last
// read and its beginning, until more is written.
func (a *app) followLog(ctx context.Context, path string, from int64) error {
	tailed, err := tail.TailFile(path, tail.Config{
		Follow: true, ReOpen: true, Poll: true,
		Logger: tail.DiscardingLogger, Location: &tail.SeekInfo{Offset: from, Whence: io.SeekStart},
	})
	if err != nil {
		return fmt.Errorf("cannot follow the log: %w", err)
	}
	defer tailed.Cleanup()
	for {
		select {
		case <-ctx.Done():
			return tailed.Stop()
		case line, open := <-tailed.Lines:
			if !open {
				return tailed.Err()
			}
			if _, err := fmt.Fprintln(a.Stdout, line.Text); err != nil {
				return err
			}
		}
	}
}
