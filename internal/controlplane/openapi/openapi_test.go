package openapi

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const output = "zz_generated.openapi.go"

// served lists what is wanted of each package; nothing means all of it.
var served = map[string][]string{
	"k8s.io/api/core/v1": {
		"ConfigMap", "ConfigMapList", "Event", "EventList", "Namespace", "NamespaceList", "Secret", "SecretList",
		"ServiceAccount", "ServiceAccountList",
	},
	"k8s.io/api/admissionregistration/v1": {
		"MutatingWebhookConfiguration", "MutatingWebhookConfigurationList",
		"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyList",
		"ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicyBindingList",
		"ValidatingWebhookConfiguration", "ValidatingWebhookConfigurationList",
	},
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1": {"CustomResourceDefinition", "CustomResourceDefinitionList"},
	"k8s.io/api/coordination/v1":                               {"Lease", "LeaseList"},
	"k8s.io/api/authentication/v1":                             nil,
	"k8s.io/api/authorization/v1":                              nil,
	"k8s.io/api/events/v1":                                     nil,
	"k8s.io/api/rbac/v1":                                       nil,
	"k8s.io/apimachinery/pkg/apis/meta/v1":                     nil,
	"k8s.io/apimachinery/pkg/version":                          nil,
	"k8s.io/apimachinery/pkg/runtime":                          nil,
}

var update = flag.Bool("update", false, "write the definitions instead of comparing them")

// TestDefinitionsAreUpToDate copies, out of the definitions that k8s.io/kubernetes comes with, those of the types that are
// served, and of what they refer to.
func TestDefinitionsAreUpToDate(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		t.Fatalf("cannot find k8s.io/kubernetes: %v", err)
	}
	source, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "pkg", "generated", "openapi", output))
	if err != nil {
		t.Fatal(err)
	}
	all, err := parse(source)
	if err != nil {
		t.Fatal(err)
	}
	want, err := all.print(all.closure())
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(output, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale; run go generate", output)
	}
}

// definitions is the file that the definitions are in.
type definitions struct {
	source  []byte
	files   *token.FileSet
	imports map[string]string // alias → path
	entries []entry
	bodies  map[string]*ast.FuncDecl
}

// entry is a line of the map of all definitions.
type entry struct {
	typ      string // alias.Name
	function string
	node     ast.Node
}

func parse(source []byte) (*definitions, error) {
	d := &definitions{source: source, files: token.NewFileSet(), imports: map[string]string{}, bodies: map[string]*ast.FuncDecl{}}
	file, err := parser.ParseFile(d.files, "", source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	for _, spec := range file.Imports {
		importPath, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		alias := path.Base(importPath)
		if spec.Name != nil {
			alias = spec.Name.Name
		}
		d.imports[alias] = importPath
	}
	for _, decl := range file.Decls {
		if function, ok := decl.(*ast.FuncDecl); ok {
			d.bodies[function.Name.Name] = function
		}
	}
	all := d.bodies["GetOpenAPIDefinitions"]
	if all == nil {
		return nil, errors.New("the file has no GetOpenAPIDefinitions")
	}
	ast.Inspect(all, func(n ast.Node) bool {
		if line, ok := n.(*ast.KeyValueExpr); ok {
			types := typesIn(line.Key)
			call, isCall := line.Value.(*ast.CallExpr)
			if len(types) == 1 && isCall {
				d.entries = append(d.entries, entry{types[0], call.Fun.(*ast.Ident).Name, line})
			}
			return false
		}
		return true
	})
	return d, nil
}

// typesIn finds the alias.Name of every alias.Name{}.
func typesIn(n ast.Node) []string {
	var types []string
	ast.Inspect(n, func(n ast.Node) bool {
		if literal, ok := n.(*ast.CompositeLit); ok && len(literal.Elts) == 0 {
			if selector, ok := literal.Type.(*ast.SelectorExpr); ok {
				types = append(types, selector.X.(*ast.Ident).Name+"."+selector.Sel.Name)
			}
		}
		return true
	})
	return types
}

func (d *definitions) wanted(typ string) bool {
	alias, name, _ := strings.Cut(typ, ".")
	names, ok := served[d.imports[alias]]
	return ok && (names == nil || slices.Contains(names, name))
}

// closure is the set of types that are served, with all that they refer to.
func (d *definitions) closure() map[string]bool {
	functions := map[string]string{}
	var todo []string
	for _, e := range d.entries {
		functions[e.typ] = e.function
		if d.wanted(e.typ) {
			todo = append(todo, e.typ)
		}
	}
	seen := map[string]bool{}
	for len(todo) > 0 {
		typ := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if function, ok := functions[typ]; ok && !seen[typ] {
			seen[typ] = true
			todo = append(todo, typesIn(d.bodies[function])...)
		}
	}
	return seen
}

func (d *definitions) text(n ast.Node) []byte {
	return d.source[d.files.Position(n.Pos()).Offset:d.files.Position(n.End()).Offset]
}

func (d *definitions) print(types map[string]bool) ([]byte, error) {
	var lines, functions bytes.Buffer
	used := map[string]bool{"common": true}
	for _, e := range d.entries {
		if !types[e.typ] {
			continue
		}
		body := d.bodies[e.function]
		fmt.Fprintf(&lines, "\t\t%s,\n", d.text(e.node))
		fmt.Fprintf(&functions, "\n%s\n", d.text(body))
		for _, n := range []ast.Node{e.node, body} {
			for _, name := range qualifiers(n) {
				used[name] = true
			}
		}
	}
	var imports []string
	for alias, importPath := range d.imports {
		if used[alias] {
			imports = append(imports, fmt.Sprintf("\t%s %q\n", alias, importPath))
		}
	}
	slices.SortFunc(imports, func(a, b string) int { return strings.Compare(a[strings.Index(a, `"`):], b[strings.Index(b, `"`):]) })

	var out bytes.Buffer
	fmt.Fprintf(&out, "// Code generated by openapi_test.go. DO NOT EDIT.\n\n// Copied from k8s.io/kubernetes, Apache License 2.0.\n\n")
	fmt.Fprintf(&out, "package openapi\n\nimport (\n%s)\n\n", strings.Join(imports, ""))
	fmt.Fprintf(&out, "// GetOpenAPIDefinitions returns the definitions by the names of their types.\n")
	fmt.Fprintf(&out, "func GetOpenAPIDefinitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {\n")
	fmt.Fprintf(&out, "\treturn map[string]common.OpenAPIDefinition{\n%s\t}\n}\n%s", lines.String(), functions.String())
	return format.Source(out.Bytes())
}

// qualifiers are the names before a dot.
func qualifiers(n ast.Node) []string {
	var names []string
	ast.Inspect(n, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := selector.X.(*ast.Ident); ok {
				names = append(names, x.Name)
			}
		}
		return true
	})
	return names
}
