package template

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/docker/go-units"
	"github.com/goccy/go-yaml"
	"github.com/lima-vm/lima/v2/pkg/driverutil"
	"github.com/lima-vm/lima/v2/pkg/limatype"
	"github.com/lima-vm/lima/v2/pkg/limatype/dirnames"
	"github.com/lima-vm/lima/v2/pkg/limayaml"
)

// SyntaxError tells that a template is not YAML, or that a field has a value of the wrong kind.
type SyntaxError struct {
	Line    int // 1-based; 0 when it is not known
	Message string
}

func (e *SyntaxError) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Message)
}

// namedField finds the field that a message of Lima's is about. It only ever adds a line number to that message.
var namedField = regexp.MustCompile("^field `([^`]+)`")

// Validate tells what Lima has against a complete template, on one line: a *SyntaxError where it cannot even be parsed.
func Validate(content []byte) (err error) {
	limaState.Lock()
	defer limaState.Unlock()
	// Validation is the one thing that Lima's library does inside the daemon: what it cannot cope with must not end that.
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("the template cannot be checked: %v", problem)
		}
	}()
	var parsed limatype.LimaYAML
	if err := limayaml.Unmarshal(content, &parsed, "template"); err != nil {
		return syntaxError(err)
	}
	if len(parsed.Base) > 0 {
		return errors.New("field `base` must be empty: embed the base templates first, as `rdd limavm create` does")
	}
	home, err := dirnames.LimaDir()
	if err != nil {
		return err
	}
	// Lima takes the directory that {{.Dir}} stands for from the path of the file.
	loaded, err := limayaml.Load(context.Background(), content, filepath.Join(home, "instance", "lima.yaml"))
	if err != nil {
		return withLines(content, err)
	}
	if err := driverutil.ResolveVMType(loaded); err != nil {
		return withLines(content, err)
	}
	return withLines(content, errors.Join(limayaml.Validate(loaded, false), checkSizes(loaded)))
}

// Below this, what was meant had another unit: no guest boots with less memory, and no image is smaller. Above the other, a size is
// not one any more once it is counted in bytes.
const (
	smallestSize = 16 << 20
	largestSize  = 1 << 62
)

// checkSizes refuses sizes that Lima accepts, and with which a VM cannot start.
func checkSizes(loaded *limatype.LimaYAML) error {
	var errs []error
	if *loaded.CPUs < 1 {
		errs = append(errs, fmt.Errorf("field `cpus` must be at least 1, not %d", *loaded.CPUs))
	}
	for _, field := range []struct{ name, value string }{{"memory", *loaded.Memory}, {"disk", *loaded.Disk}} {
		bytes, err := units.RAMInBytes(field.value)
		switch {
		case err != nil: // Lima tells
		case bytes < 0, bytes > largestSize:
			errs = append(errs, fmt.Errorf("field `%s` is too large: %q", field.name, field.value))
		case bytes < smallestSize:
			errs = append(errs, fmt.Errorf("field `%s` must be at least 16MiB, and %q is %d bytes", field.name, field.value, bytes))
		}
	}
	return errors.Join(errs...)
}

func syntaxError(err error) error {
	var parse yaml.Error
	if errors.As(err, &parse) {
		result := &SyntaxError{Message: flatten(parse.GetMessage())}
		if token := parse.GetToken(); token != nil && token.Position != nil {
			result.Line = token.Position.Line
		}
		return result
	}
	return &SyntaxError{Message: oneLine(err).Error()}
}

// withLines puts the joined errors of Lima on one line, each with the line of the template that it is about.
func withLines(content []byte, err error) error {
	if err == nil {
		return nil
	}
	var messages []string
	for _, message := range strings.Split(err.Error(), "\n") {
		if match := namedField.FindStringSubmatch(message); match != nil {
			if line := lineOf(content, match[1]); line > 0 {
				message = fmt.Sprintf("line %d: %s", line, message)
			}
		}
		messages = append(messages, message)
	}
	return errors.New(strings.Join(messages, "; "))
}

// lineOf is the line of a field, or of the closest parent that the template has; 0 where there is none.
func lineOf(content []byte, field string) int {
	for field != "" {
		if path, err := yaml.PathString("$." + field); err == nil {
			if node, err := path.ReadNode(bytes.NewReader(content)); err == nil && node != nil && node.GetToken() != nil {
				return node.GetToken().Position.Line
			}
		}
		field = field[:max(0, strings.LastIndexAny(field, ".["))]
	}
	return 0
}

func oneLine(err error) error {
	if !strings.Contains(err.Error(), "\n") {
		return err
	}
	return flattened{err}
}

// flattened shows err on one line and still unwraps to it.
type flattened struct{ error }

func (f flattened) Error() string { return flatten(f.error.Error()) }
func (f flattened) Unwrap() error { return f.error }

func flatten(message string) string {
	return strings.Join(strings.FieldsFunc(message, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
