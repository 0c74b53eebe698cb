// Package bundle owns the archive that a user sends to whoever helps: what is put into it, and that no secret is.
package bundle

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"
)

// fileBytes is how much of a file is taken at most: its end, where the trouble is.
const fileBytes = 4 << 20

// Writer writes a bundle, all of whose content goes through a Redactor.
type Writer struct {
	redact    *Redactor
	top       string
	now       time.Time
	gzip      *gzip.Writer
	tar       *tar.Writer
	fileBytes int64
}

// NewWriter begins a bundle, in which everything lies in one directory called top.
func NewWriter(to io.Writer, top string, now time.Time, redact *Redactor) *Writer {
	compressed := gzip.NewWriter(to)
	return &Writer{redact: redact, top: top, now: now, gzip: compressed, tar: tar.NewWriter(compressed), fileBytes: fileBytes}
}

// Add adds content under a name, which may have slashes. Secrets are removed from both.
func (w *Writer) Add(name string, content []byte) error {
	clean := w.redact.Clean(content)
	header := &tar.Header{
		Name: path.Join(w.top, string(w.redact.Clean([]byte(name)))), Mode: 0o600, Size: int64(len(clean)), ModTime: w.now, Format: tar.FormatPAX,
	}
	if err := w.tar.WriteHeader(header); err != nil {
		return fmt.Errorf("cannot write the bundle: %w", err)
	}
	if _, err := w.tar.Write(clean); err != nil {
		return fmt.Errorf("cannot write the bundle: %w", err)
	}
	return nil
}

// AddFile adds the end of a file. What cannot be read is told instead: a bundle is made when things are not as they should be.
func (w *Writer) AddFile(name, file string) error {
	content, err := end(file, w.fileBytes)
	if err != nil {
		return w.Add(name+".error", []byte(err.Error()+"\n"))
	}
	return w.Add(name, content)
}

// Close completes the bundle.
func (w *Writer) Close() error {
	if err := errors.Join(w.tar.Close(), w.gzip.Close()); err != nil {
		return fmt.Errorf("cannot write the bundle: %w", err)
	}
	return nil
}

// end reads the last bytes of a file, limit at most, from the beginning of a line on.
func end(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", file)
	}
	skipped := info.Size() - limit
	if skipped > 0 {
		if _, err := f.Seek(skipped, io.SeekStart); err != nil {
			return nil, err
		}
	}
	content, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil || skipped <= 0 {
		return content, err
	}
	// A secret that the cut goes through would not be recognised.
	for i, b := range content {
		if b == '\n' {
			content = content[i+1:]
			break
		}
	}
	return append(fmt.Appendf(nil, "(the first %d bytes are left out)\n", skipped), content...), nil
}
