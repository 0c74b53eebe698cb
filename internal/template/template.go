// Package template owns Lima templates before they become VMs: those built in, reading one from wherever the user keeps it,
// making it complete (no base and no external script left), merging parameters, and judging it in Lima's own words.
//
// It is the one place where Lima's library runs inside the daemon, because validation is pure. Lima's YAML code keeps
// global state, so all calls into it are serialised here. It reads LIMA_HOME and HOME from the environment by itself.
package template

import (
	"context"
	"embed"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/lima-vm/lima/v2/pkg/limatmpl"
	"github.com/lima-vm/lima/v2/pkg/yqutil"
)

// MaxSize is the largest template that is read, in bytes: MaxStored, and margin for what sets and bases leave out.
const MaxSize = 4 << 20

// MaxStored is the largest template that a ConfigMap holds, in bytes.
const MaxStored = 1 << 20

// Default is the built-in template that is used when the user names none.
const Default = "default"

const scheme = "template:"

//go:embed builtin/*.yaml
var builtin embed.FS

// limaState guards what Lima's YAML code keeps in package variables: the yq parser and the logging backend that it swaps.
var limaState sync.Mutex //nolint:gochecknoglobals // what it guards is global, too

// imageLocator matches the locator of a disk image, which Lima turns into a minimal template.
var imageLocator = regexp.MustCompile(`\.(img|qcow2|raw|iso)(\.(gz|xz|bz2|zstd))?$`)

// Builtin lists the names of the built-in templates, the default first.
func Builtin() []string {
	entries, err := fs.ReadDir(builtin, "builtin")
	if err != nil {
		panic(err) // the directory is part of the binary
	}
	var names []string
	for _, entry := range entries {
		names = append(names, strings.TrimSuffix(entry.Name(), ".yaml"))
	}
	slices.SortStableFunc(names, func(a, b string) int {
		switch Default {
		case a:
			return -1
		case b:
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}

// Unpack writes the built-in templates into a directory that has none, where Lima finds the bases of others
// ("base: template:debian") if LIMA_TEMPLATES_PATH names it.
func Unpack(dir string) error {
	files, err := fs.Sub(builtin, "builtin")
	if err == nil {
		err = os.CopyFS(dir, files)
	}
	if err != nil {
		return fmt.Errorf("cannot unpack the built-in templates: %w", err)
	}
	return nil
}

// UnknownBuiltinError tells that no built-in template has that name.
type UnknownBuiltinError struct{ Name string }

func (e *UnknownBuiltinError) Error() string {
	return fmt.Sprintf("there is no built-in template %q; there are %s", e.Name, strings.Join(Builtin(), ", "))
}

// Read reads the template at source, resolves its bases and scripts, and applies the yq expressions sets to it. The source
// is a file, a file: or http(s): URL (of a template or a disk image), "-" for stdin, or "template:NAME" for one built in.
//
// It returns an *UnknownBuiltinError, or an error that wraps fs.ErrNotExist, where nothing is there by that name, and a
// *SyntaxError where it is no template. The result is complete, but not validated.
func Read(ctx context.Context, source string, stdin io.Reader, sets []string) ([]byte, error) {
	tmpl, err := load(ctx, source, stdin)
	if err != nil {
		return nil, fmt.Errorf("cannot read template %s: %w", source, err)
	}
	limaState.Lock()
	defer limaState.Unlock()
	if err := tmpl.Unmarshal(); err != nil {
		return nil, fmt.Errorf("cannot read template %s: %w", source, syntaxError(err))
	}
	if err := tmpl.Embed(ctx, true, true); err != nil {
		return nil, fmt.Errorf("cannot complete template %s: %w", source, oneLine(err))
	}
	if len(sets) == 0 {
		return tmpl.Bytes, nil
	}
	out, err := yqutil.EvaluateExpression(ctx, yqutil.Join(sets), tmpl.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot apply %q to template %s: %w", strings.Join(sets, " | "), source, oneLine(err))
	}
	return out, nil
}

// IsBuiltin tells the name in a source of the form "template:NAME" or "template://NAME".
func IsBuiltin(source string) (name string, ok bool) {
	name, ok = strings.CutPrefix(source, scheme)
	return strings.TrimPrefix(name, "//"), ok
}

func load(ctx context.Context, source string, stdin io.Reader) (*limatmpl.Template, error) {
	name, isBuiltin := IsBuiltin(source)
	isWeb := strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://")
	var content []byte
	var err error
	switch {
	case isBuiltin:
		content, err = builtin.ReadFile(path.Join("builtin", name+".yaml"))
		if err != nil {
			err = &UnknownBuiltinError{Name: name}
		}
	case source == "-":
		content, err = readLimited(stdin)
	case isWeb && !imageLocator.MatchString(source):
		content, err = fetch(ctx, source)
	default:
		return limatmpl.Read(ctx, "", source)
	}
	if err != nil {
		return nil, err
	}
	return &limatmpl.Template{Locator: source, Bytes: content}, nil
}

// fetch reads a template from the web. Lima's own reader takes the text of an error page for a template.
func fetch(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusNotFound, response.StatusCode == http.StatusGone:
		return nil, fmt.Errorf("the server answers %q: %w", response.Status, fs.ErrNotExist)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the server answers %q", response.Status)
	}
	return readLimited(response.Body)
}

func readLimited(r io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(content) > MaxSize {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxSize)
	}
	return content, nil
}
