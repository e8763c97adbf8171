package main_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

const (
	modulePath = "github.com/natprobe/natprobe"
	moduleRoot = "../.."
)

// rule says what a package may import besides the standard library.
type rule struct {
	// own lists packages of this module. "x/..." stands for x and everything
	// below it.
	own []string
	// modules lists other people's modules.
	modules []string
	// pure forbids what reaches outside the process: sockets, files, programs.
	pure bool
}

// rules is the architecture: one row per package. A package that is not here
// has no place yet; to add one is a decision about the whole program.
var rules = map[string]rule{
	// Codecs may join results; the standard library has had all so far.
	"results":           {},
	"results/store":     {own: []string{"results"}, modules: []string{"modernc.org/sqlite", "github.com/jackc/pgx/v5"}},
	"results/reference": {own: []string{"results"}},

	"reflector/wire": {modules: []string{"github.com/pion/stun/v3"}},
	"reflector": {
		own:     []string{"reflector/wire"},
		modules: []string{"github.com/prometheus/client_golang", "golang.org/x/net", "golang.org/x/sys"},
	},
	"reflector/collect": {own: []string{"results/...", "analysis/..."}},

	"probe": {
		own:     []string{"results", "reflector/wire"},
		modules: []string{"golang.org/x/net", "golang.org/x/sys"},
	},
	"probe/natmodel": {pure: true},
	// Namespaces, links and NAT rules are all the kernel's netlink; x/sys has
	// its numbers and the calls that enter a namespace.
	"probe/natlab": {
		own: []string{"probe/natmodel"},
		modules: []string{
			"github.com/vishvananda/netlink", "github.com/vishvananda/netns", "github.com/mdlayher/netlink",
			"github.com/google/nftables", "golang.org/x/sys",
		},
	},
	"probe/simulate": {own: []string{"probe", "probe/natmodel", "results"}},

	"analysis":        {own: []string{"results"}, modules: []string{"gonum.org/v1/gonum"}, pure: true},
	"analysis/report": {own: []string{"analysis", "results"}, modules: []string{"gonum.org/v1/plot"}},

	"vpn":            {own: []string{"results"}},
	"vpn/statefile":  {modules: []string{"golang.org/x/sys"}},
	"vpn/sharedport": {modules: []string{"golang.zx2c4.com/wireguard"}},
	// nftables keeps a default route's answers in the tunnel, as wg-quick does.
	"vpn/tunnel": {
		own: []string{"vpn"},
		modules: []string{
			"golang.zx2c4.com/wireguard", "github.com/vishvananda/netlink", "github.com/google/nftables",
			"github.com/mdlayher/netlink", "golang.org/x/sys",
		},
	},
	"vpn/wgapply": {own: []string{"vpn", "vpn/statefile"}, modules: []string{"golang.zx2c4.com/wireguard/wgctrl"}},
	"vpn/network": {modules: []string{"github.com/vishvananda/netlink", "golang.org/x/sys"}},
	"vpn/memory":  {own: []string{"results", "vpn/network", "vpn/statefile"}},
	"vpn/tuner":   {own: []string{"results", "vpn", "vpn/network", "vpn/memory"}},

	"cmd/natprobe": {
		own: []string{"results/...", "reflector/...", "probe/...", "analysis/...", "vpn/..."},
		modules: []string{
			"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term", "golang.org/x/sys",
			"github.com/prometheus/client_golang", "go.yaml.in/yaml/v4",
			// What doctor asks the kernel of its links and its firewall.
			"github.com/vishvananda/netlink", "github.com/google/nftables",
		},
	},
}

// impure are the packages of the standard library that a pure package leaves
// alone. net/netip holds values only and is welcome.
var impure = []string{"net", "net/http", "os", "os/exec", "os/signal", "syscall"}

// topLevel is everything that may be seen at the top of the repository. Hidden
// names are the business of tools, bin that of make build.
var topLevel = []string{
	"analysis", "bin", "cmd", "probe", "reflector", "results", "vpn",
	"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "go.mod", "go.sum",
}

// sourcePackage is a folder with Go files in it, tests left out.
type sourcePackage struct {
	folder     string // from the module's root, with slashes
	documented bool   // has a comment before a package clause
	imports    []string
}

func TestArchitecture(t *testing.T) {
	tree := os.DirFS(moduleRoot)
	packages, err := readPackages(tree)
	if err != nil {
		t.Fatal(err)
	}
	if len(packages) == 0 {
		t.Fatalf("no packages found under %s", moduleRoot)
	}
	for _, p := range packages {
		for _, violation := range violations(p) {
			t.Error(violation)
		}
	}
	strangers, err := strangersAtTop(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strangers {
		t.Errorf("%s: nothing joins the top of the repository but %s", name, strings.Join(topLevel, ", "))
	}
}

// readPackages reads the import lines of every Go file in the module, for all
// systems and build tags at once. Go's own rules say which folders don't count.
func readPackages(tree fs.FS) ([]sourcePackage, error) {
	byFolder := make(map[string]*sourcePackage)
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := path.Base(name)
		if entry.IsDir() {
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") || strings.HasSuffix(base, "_test.go") {
			return nil
		}
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		p := byFolder[path.Dir(name)]
		if p == nil {
			p = &sourcePackage{folder: path.Dir(name)}
			byFolder[p.folder] = p
		}
		p.documented = p.documented || strings.TrimSpace(file.Doc.Text()) != ""
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			p.imports = append(p.imports, imported)
		}
		return nil
	})
	packages := make([]sourcePackage, 0, len(byFolder))
	for _, p := range byFolder {
		slices.Sort(p.imports)
		p.imports = slices.Compact(p.imports)
		packages = append(packages, *p)
	}
	slices.SortFunc(packages, func(a, b sourcePackage) int { return strings.Compare(a.folder, b.folder) })
	return packages, err
}

// violations tells where a package leaves the architecture, a sentence each.
func violations(p sourcePackage) []string {
	var found []string
	if !p.documented {
		found = append(found, p.folder+": no package comment; say in doc.go what the package is for")
	}
	r, known := rules[p.folder]
	if !known {
		return append(found, p.folder+": not in the table of packages; give it a row in rules (architecture_test.go) or put its code where it belongs")
	}
	for _, imported := range p.imports {
		if why := refuse(r, imported); why != "" {
			found = append(found, fmt.Sprintf("%s: must not import %s: %s", p.folder, imported, why))
		}
	}
	return found
}

// refuse tells why a rule does not allow an import, or nothing where it does.
func refuse(r rule, imported string) string {
	if own, ok := strings.CutPrefix(imported, modulePath+"/"); ok {
		if !slices.ContainsFunc(r.own, func(pattern string) bool { return matches(pattern, own) }) {
			return listed("of our packages", r.own)
		}
		return ""
	}
	if imported == "C" {
		return "natprobe is built without cgo"
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		if r.pure && slices.Contains(impure, imported) {
			return "the package is pure"
		}
		return ""
	}
	if !slices.ContainsFunc(r.modules, func(module string) bool { return matches(module+"/...", imported) }) {
		return listed("of other modules", r.modules)
	}
	return ""
}

// matches tells whether name is what pattern says: itself, or with "/..." at
// the end of pattern also anything below it.
func matches(pattern, name string) bool {
	root, below := strings.CutSuffix(pattern, "/...")
	return name == root || below && strings.HasPrefix(name, root+"/")
}

func listed(whose string, allowed []string) string {
	if len(allowed) == 0 {
		return "it may use none " + whose
	}
	return whose + " it may use only " + strings.Join(allowed, ", ")
}

// strangersAtTop lists what doesn't belong at the top of the repository. A
// plain file may lie about there while someone works, unless it is code or a
// page to read.
func strangersAtTop(tree fs.FS) ([]string, error) {
	entries, err := fs.ReadDir(tree, ".")
	var strangers []string
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") || slices.Contains(topLevel, name) {
			continue
		}
		if entry.IsDir() || slices.Contains([]string{".go", ".md", ".sh"}, path.Ext(name)) {
			strangers = append(strangers, name)
		}
	}
	return strangers, err
}

// TestSleep keeps wall-clock sleeping out of tests: a test file may sleep only
// where it works with testing/synctest, whose time is not the wall clock's.
func TestSleep(t *testing.T) {
	sleepers, err := sleepers(os.DirFS(moduleRoot))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sleepers {
		t.Errorf("%s: sleeps outside a testing/synctest bubble; wait for what is meant instead", name)
	}
}

func sleepers(tree fs.FS) ([]string, error) {
	var found []string
	err := fs.WalkDir(tree, ".", func(name string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		source, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		bubbles := slices.ContainsFunc(file.Imports, func(spec *ast.ImportSpec) bool {
			return spec.Path.Value == `"testing/synctest"`
		})
		sleeps := false
		ast.Inspect(file, func(node ast.Node) bool {
			if s, ok := node.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
				of, ok := s.X.(*ast.Ident)
				sleeps = sleeps || ok && of.Name == "time"
			}
			return true
		})
		if sleeps && !bubbles {
			found = append(found, name)
		}
		return nil
	})
	return found, err
}

// TestArchitectureRules shows that the checks above find what they look for.
func TestArchitectureRules(t *testing.T) {
	const own = modulePath + "/"
	tests := []struct {
		name    string
		folder  string
		imports []string
		want    []string
	}{
		{"standard library", "results", []string{"encoding/json", "net/netip", "os"}, nil},
		{"listed package", "probe", []string{own + "results", own + "reflector/wire", "golang.org/x/net/ipv4"}, nil},
		{"everything below", "reflector/collect", []string{own + "results", own + "results/store"}, nil},
		{
			"unlisted package", "probe", []string{own + "analysis", own + "reflector"},
			[]string{
				"probe: must not import " + own + "analysis: of our packages it may use only results, reflector/wire",
				"probe: must not import " + own + "reflector: of our packages it may use only results, reflector/wire",
			},
		},
		{
			"below a listed package", "vpn", []string{own + "results/store"},
			[]string{"vpn: must not import " + own + "results/store: of our packages it may use only results"},
		},
		{
			"another module", "reflector/wire", []string{"github.com/pion/stun/v3", "github.com/pion/stun/v30"},
			[]string{"reflector/wire: must not import github.com/pion/stun/v30: of other modules it may use only github.com/pion/stun/v3"},
		},
		{
			"no other module at all", "results", []string{"github.com/spf13/cobra"},
			[]string{"results: must not import github.com/spf13/cobra: it may use none of other modules"},
		},
		{
			"sockets in a pure package", "probe/natmodel", []string{"net", "net/netip"},
			[]string{"probe/natmodel: must not import net: the package is pure"},
		},
		{"cgo", "vpn", []string{"C"}, []string{"vpn: must not import C: natprobe is built without cgo"}},
		{
			"a new package", "probe/extra", nil,
			[]string{"probe/extra: not in the table of packages; give it a row in rules (architecture_test.go) or put its code where it belongs"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := violations(sourcePackage{folder: tt.folder, documented: true, imports: tt.imports})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("violations (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("no package comment", func(t *testing.T) {
		got := violations(sourcePackage{folder: "results"})
		if want := []string{"results: no package comment; say in doc.go what the package is for"}; !slices.Equal(got, want) {
			t.Errorf("violations = %q, want %q", got, want)
		}
	})
}

// TestArchitectureTree shows what is read from a tree of files, and what of it
// counts.
func TestArchitectureTree(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tree := fstest.MapFS{
		"go.mod":                  file("module m\n"),
		"notes.txt":               file("left by someone at work\n"),
		"GUIDE.md":                file("# A guide\n"),
		"tools/x.go":              file("package tools\n"),
		"bin/left.go":             file("package left\n"),
		".ci/helper.go":           file("package main\n"),
		"probe/doc.go":            file("// Package probe measures.\npackage probe\n"),
		"probe/sock_linux.go":     file("package probe\n\nimport (\n\t\"net\"\n\tu \"golang.org/x/sys/unix\"\n)\n"),
		"probe/sock_windows.go":   file("//go:build windows\n\npackage probe\n\nimport (\n\t\"net\"\n\t_ \"golang.org/x/sys/windows\"\n)\n"),
		"probe/a_test.go":         file("package probe\n\nimport \"testing\"\n"),
		"probe/testdata/input.go": file("package input\n"),
	}
	got, err := readPackages(tree)
	if err != nil {
		t.Fatal(err)
	}
	want := []sourcePackage{
		{folder: "probe", documented: true, imports: []string{"golang.org/x/sys/unix", "golang.org/x/sys/windows", "net"}},
		{folder: "tools"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(sourcePackage{})); diff != "" {
		t.Errorf("readPackages (-want +got):\n%s", diff)
	}

	strangers, err := strangersAtTop(tree)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"GUIDE.md", "tools"}, strangers); diff != "" {
		t.Errorf("strangersAtTop (-want +got):\n%s", diff)
	}

	tree["probe/bubble_test.go"] = file("package probe\n\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nfunc f() { time.Sleep(1); synctest.Wait() }\n")
	tree["probe/wall_test.go"] = file("package probe\n\nimport \"time\"\n\nfunc g() { time.Sleep(1) }\n")
	slow, err := sleepers(tree)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"probe/wall_test.go"}, slow); diff != "" {
		t.Errorf("sleepers (-want +got):\n%s", diff)
	}
}
