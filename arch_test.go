package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The rules of CONTRIBUTING.md that a machine can check. Every message says
// what to do about it. An exception needs a reason in one of the tables below.

// imports is who may import whom inside the house; a folder below another obeys
// its top folder's row. "*" is everything.
var imports = map[string][]string{
	"":          {"cli"},
	"cluster":   {},
	"identity":  {"cluster"},
	"store":     {"cluster", "identity"},
	"scheduler": {"cluster", "identity"},
	"builder":   {"cluster", "identity"},
	"router":    {"cluster", "identity"},
	"api":       {"cluster", "identity"},
	"server":    {"api", "store", "scheduler", "builder", "cluster", "identity"},
	"agent":     {"api", "router", "cluster", "identity"},
	"cli":       {"*"},
	"scripts":   {"*"},
}

// modules is which third-party modules the pure packages may use; a package
// without a row is free.
var modules = map[string][]string{
	"cluster":   {"github.com/hashicorp/go-immutable-radix/v2"},
	"identity":  {"golang.org/x/crypto/"},
	"scheduler": {},
}

// edges is where a side effect lives: nobody else may import the module.
var edges = map[string][]string{
	"github.com/docker/docker":      {"agent", "builder", "cli"},
	"github.com/moby/buildkit":      {"builder"},
	"github.com/hashicorp/raft":     {"store"},
	"go.etcd.io/bbolt":              {"store", "agent"},
	"github.com/caddyserver":        {"router"},
	"github.com/urfave/cli":         {"cli"},
	"github.com/danielgtaylor/huma": {"api"},
	"github.com/labstack/echo":      {"api"},
	"github.com/distribution":       {"builder"},
}

// Sizes: house alarms, not goals.
const (
	maxFunctionLines    = 60
	maxFileLines        = 400
	maxInterfaceMethods = 6
)

// longFunctions may be longer, "folder/file.go:Name": reason.
var longFunctions = map[string]string{}

// longFiles may be longer, "folder/file.go": reason.
var longFiles = map[string]string{}

// variables may be package-level although they are none of the kinds that
// constantValue knows, "folder.name": reason.
var variables = map[string]string{
	"api.encMode":    "an immutable CBOR mode; making one per message costs more than the message",
	"api.decMode":    "an immutable CBOR mode; making one per message costs more than the message",
	"store.encoding": "an immutable CBOR mode: one encoding for log, snapshot and backup",
	"store.decoding": "an immutable CBOR mode: one encoding for log, snapshot and backup",
	"cli.version":    "set by the linker (Makefile)",
	"server.nobody":  "compared with when a token is unknown, never handed out",
}

// bannedNames are drawers, not subjects.
var bannedNames = []string{"util", "utils", "common", "helper", "helpers", "types", "internal", "pkg", "misc", "base"}

// undocumentedMethods have their contract in the standard library.
var undocumentedMethods = []string{"String", "Error", "Unwrap", "MarshalText", "UnmarshalText", "MarshalJSON",
	"UnmarshalJSON", "MarshalCBOR", "UnmarshalCBOR", "LogValue", "GoString", "Format", "Read", "Write", "Close", "ServeHTTP"}

// source is one parsed Go file.
type source struct {
	path  string // "store/apply.go"
	top   string // "store"; "" for the root
	dir   string // "store", "store/raftlog", "."
	test  bool
	lines int
	fset  *token.FileSet
	file  *ast.File
}

// tree parses every Go file of the module once per test.
func tree(t *testing.T) []*source {
	t.Helper()
	var out []*source
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skipDir(p, d.Name())
		case !strings.HasSuffix(p, ".go"):
			return nil
		}
		s, err := parse(filepath.ToSlash(p))
		if err == nil {
			out = append(out, s)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// skipDir leaves out what is not this module's source.
func skipDir(p, name string) error {
	if p == "." {
		return nil
	}
	if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil || name == "testdata" || name == "bin" || strings.HasPrefix(name, ".") {
		return filepath.SkipDir
	}
	return nil
}

func parse(p string) (*source, error) {
	text, err := os.ReadFile(p)
	if err != nil {
		return nil, err
	}
	s := &source{path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), fset: token.NewFileSet()}
	if top, _, below := strings.Cut(p, "/"); below {
		s.top = top
	}
	s.lines = strings.Count(string(text), "\n")
	s.file, err = parser.ParseFile(s.fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
	return s, err
}

// code is the tree without tests and generated files.
func code(t *testing.T) []*source {
	t.Helper()
	return slices.DeleteFunc(tree(t), func(s *source) bool { return s.test || ast.IsGenerated(s.file) })
}

func (s *source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.fset.Position(n.Pos()).Line)
}

func (s *source) imports(prefix string) bool {
	return slices.ContainsFunc(s.file.Imports, func(i *ast.ImportSpec) bool { return within(importPath(i), prefix) })
}

func importPath(i *ast.ImportSpec) string {
	p, _ := strconv.Unquote(i.Path.Value)
	return p
}

// within reports whether import path p is module or lies below it.
func within(p, module string) bool {
	module = strings.TrimSuffix(module, "/")
	return p == module || strings.HasPrefix(p, module+"/")
}

func TestImportsPointOneWay(t *testing.T) {
	for _, s := range code(t) {
		allowed, known := imports[s.top]
		if !known {
			t.Errorf("%s: folder %s has no row in the import table: argue for it in architecture.md section 2, then add the row", s.path, s.top)
			continue
		}
		for _, i := range s.file.Imports {
			p := importPath(i)
			if inner, ours := strings.CutPrefix(p, "paas/"); ours {
				to, _, _ := strings.Cut(inner, "/")
				if to != s.top && !slices.Contains(allowed, to) && !slices.Contains(allowed, "*") {
					t.Errorf("%s: %s may not import %s: declare the interface you need where you call it, and let %s be handed in from above", s.at(i), s.top, p, to)
				}
				continue
			}
			checkModule(t, s, i, p)
		}
	}
}

func checkModule(t *testing.T, s *source, i *ast.ImportSpec, p string) {
	t.Helper()
	if host, _, _ := strings.Cut(p, "/"); !strings.Contains(host, ".") {
		return // the standard library
	}
	if allowed, pure := modules[s.top]; pure && !slices.ContainsFunc(allowed, func(m string) bool { return within(p, m) }) {
		t.Errorf("%s: %s may not use %s: keep the package pure and do this at the edge", s.at(i), s.top, p)
	}
	for module, where := range edges {
		if within(p, module) && !slices.Contains(where, s.top) && s.top != "scripts" {
			t.Errorf("%s: %s belongs to %s: go through that package", s.at(i), p, strings.Join(where, ", "))
		}
	}
}

func TestPackagesAreNamedForASubject(t *testing.T) {
	for _, s := range tree(t) {
		for _, part := range strings.Split(s.dir, "/") {
			if slices.Contains(bannedNames, part) {
				t.Errorf("%s: folder %s is a drawer: name it for its subject, or write the three lines in place", s.path, part)
			}
		}
		if name := strings.TrimSuffix(s.file.Name.Name, "_test"); slices.Contains(bannedNames, name) {
			t.Errorf("%s: package %s is a drawer: name it for its subject", s.path, name)
		}
	}
}

func TestPackagesSayWhatTheyOwn(t *testing.T) {
	docs := map[string]bool{}
	for _, s := range code(t) {
		if s.file.Doc != nil && (path.Base(s.path) == "doc.go" || s.file.Name.Name == "main") {
			docs[s.dir] = true
		} else if !docs[s.dir] {
			docs[s.dir] = false
		}
	}
	for dir, ok := range docs {
		if !ok {
			t.Errorf("%s: no package comment in doc.go: say what the package owns, what it never does, its invariants", dir)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, s := range code(t) {
		for _, d := range s.file.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && !excused(d) {
					t.Errorf("%s: %s has no comment: write its contract (units, zero value, errors), not its name again", s.at(d), d.Name)
				}
			case *ast.GenDecl:
				checkSpecs(t, s, d)
			}
		}
	}
}

// excused reports whether a method needs no comment: its type is not exported,
// or everybody knows it.
func excused(d *ast.FuncDecl) bool {
	return d.Recv != nil && (!ast.IsExported(receiver(d)) || slices.Contains(undocumentedMethods, d.Name.Name))
}

func receiver(d *ast.FuncDecl) string {
	if d.Recv == nil {
		return ""
	}
	x := d.Recv.List[0].Type
	for {
		switch v := x.(type) {
		case *ast.StarExpr:
			x = v.X
		case *ast.IndexExpr:
			x = v.X
		case *ast.IndexListExpr:
			x = v.X
		case *ast.Ident:
			return v.Name
		default:
			return ""
		}
	}
}

func checkSpecs(t *testing.T, s *source, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		switch x := spec.(type) {
		case *ast.TypeSpec:
			if x.Name.IsExported() && x.Doc == nil && d.Doc == nil && x.Comment == nil {
				t.Errorf("%s: type %s has no comment: say what it means", s.at(x), x.Name)
			}
		case *ast.ValueSpec:
			// One comment on a block of constants speaks for all of them, and for a
			// block of an enum the type's own does.
			if d.Doc == nil && x.Doc == nil && x.Comment == nil && x.Names[0].IsExported() && d.Lparen == token.NoPos {
				t.Errorf("%s: %s has no comment: say what it is, and where a number comes from", s.at(x), x.Names[0])
			}
		}
	}
}

func TestFunctionsAndFilesStaySmall(t *testing.T) {
	for _, s := range code(t) {
		if s.lines > maxFileLines && longFiles[s.path] == "" {
			t.Errorf("%s: %d lines, the alarm is %d: split it by noun or verb", s.path, s.lines, maxFileLines)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			if n > maxFunctionLines && longFunctions[s.path+":"+f.Name.Name] == "" {
				t.Errorf("%s: %s has %d lines, the alarm is %d: extract by sentence, or give a reason in longFunctions", s.at(f), f.Name, n, maxFunctionLines)
			}
		}
	}
}

func TestInterfacesStaySmall(t *testing.T) {
	for _, s := range code(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			i, ok := spec.Type.(*ast.InterfaceType)
			if ok && i.Methods.NumFields() > maxInterfaceMethods {
				t.Errorf("%s: interface %s has %d methods, the limit is %d: declare what one caller needs next to it", s.at(spec), spec.Name, i.Methods.NumFields(), maxInterfaceMethods)
			}
			return true
		})
	}
}

// calls yields each call of a package's function, as written: "time.Now".
func (s *source) calls(each func(call *ast.CallExpr, name string)) {
	ast.Inspect(s.file, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			if sel, ok := c.Fun.(*ast.SelectorExpr); ok {
				if x, ok := sel.X.(*ast.Ident); ok {
					each(c, x.Name+"."+sel.Sel.Name)
				}
			}
		}
		return true
	})
}

// applies reports whether s is part of the store's apply path: it has an apply
// method, or works on drafts and states for those that do. What it reads has to be
// the same on every server.
func (s *source) applies() bool {
	return s.top == "store" && slices.ContainsFunc(s.file.Decls, func(d ast.Decl) bool {
		f, ok := d.(*ast.FuncDecl)
		return ok && (f.Recv != nil && strings.EqualFold(f.Name.Name, "apply") || takesState(f))
	})
}

func takesState(f *ast.FuncDecl) bool {
	return slices.ContainsFunc(f.Type.Params.List, func(p *ast.Field) bool {
		star, ok := p.Type.(*ast.StarExpr)
		if !ok {
			return false
		}
		sel, ok := star.X.(*ast.SelectorExpr)
		return ok && (sel.Sel.Name == "Draft" || sel.Sel.Name == "State")
	})
}

// snapshotMethods are the half of the FSM that does I/O and changes nothing.
var snapshotMethods = []string{"Snapshot", "Restore", "Persist", "Release"}

func checkClock(t *testing.T, s *source, d ast.Decl) {
	t.Helper()
	ast.Inspect(d, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clocks, sel.Sel.Name) {
			t.Errorf("%s: time.%s in a decision: take the time as a parameter or a field of the command", s.at(sel), sel.Sel.Name)
		}
		return true
	})
}

var clocks = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}

func TestDecisionsReadNoClockAndNoDice(t *testing.T) {
	for _, s := range code(t) {
		if s.top != "scheduler" && s.top != "cluster" && !s.applies() {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.top == "store" && slices.Contains(snapshotMethods, f.Name.Name) {
				continue
			}
			checkClock(t, s, d)
		}
		for _, dice := range []string{"math/rand", "math/rand/v2", "crypto/rand"} {
			if s.imports(dice) {
				t.Errorf("%s: %s in a decision: let the proposer stamp what is random", s.path, dice)
			}
		}
	}
}

func TestTestsDoNotSleep(t *testing.T) {
	for _, s := range tree(t) {
		if !s.test || s.imports("testing/synctest") {
			continue // in a bubble time is fake, and sleeping costs nothing
		}
		s.calls(func(c *ast.CallExpr, name string) {
			if name == "time.Sleep" {
				t.Errorf("%s: time.Sleep in a test: await a condition with a deadline, or use testing/synctest", s.at(c))
			}
		})
	}
}

var shellNames = []string{"sh", "bash", "dash", "/bin/sh", "/bin/bash", "/usr/bin/bash", "/usr/bin/env"}

func TestNothingReachesAShell(t *testing.T) {
	for _, s := range code(t) {
		s.calls(func(c *ast.CallExpr, name string) {
			if name != "exec.Command" && name != "exec.CommandContext" {
				return
			}
			for _, a := range c.Args {
				if lit, ok := a.(*ast.BasicLit); ok {
					if text, err := strconv.Unquote(lit.Value); err == nil && slices.Contains(shellNames, text) {
						t.Errorf("%s: runs %s: run the program itself with an argument array", s.at(c), text)
					}
				}
			}
		})
	}
}

// programs is who may start others, and what.
var programs = map[string]string{
	"server/git.go":     "git's own http-backend",
	"server/gitrepo.go": "git, on repositories of ours",
	"builder/slice.go":  "systemctl, for the slice of build steps",
	"cli/git.go":        "git, in the caller's work tree",
	"cli/detach.go":     "paas itself, in the background",
	"cli/open.go":       "the browser",
	"cli/doctor.go":     "looks for programs, runs none",
}

func TestOnlyAFewFilesStartPrograms(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range code(t) {
		for _, i := range s.file.Imports {
			if i.Path.Value != `"os/exec"` {
				continue
			}
			seen[s.path] = true
			if _, ok := programs[s.path]; !ok {
				t.Errorf("%s: imports os/exec: have a file in programs do it, or say there what it starts", s.path)
			}
		}
	}
	for name := range programs {
		if !seen[name] {
			t.Errorf("programs: %s starts none any more: remove its row", name)
		}
	}
}

var globalOutput = regexp.MustCompile(`^(log\.(Print|Fatal|Panic)(f|ln)?|fmt\.Print(f|ln)?|slog\.(Debug|Info|Warn|Error|Log|Default)(Context)?)$`)

func TestOnlyTheCLISpeaksToTheTerminal(t *testing.T) {
	for _, s := range code(t) {
		if s.top == "cli" || s.top == "" || s.top == "scripts" {
			continue
		}
		s.calls(func(c *ast.CallExpr, name string) {
			if globalOutput.MatchString(name) && s.imports(strings.Replace(strings.SplitN(name, ".", 2)[0], "slog", "log/slog", 1)) {
				t.Errorf("%s: %s below cli: log through the Logger of your Config, or write to the writer you were given", s.at(c), name)
			}
			if name == "os.Exit" {
				t.Errorf("%s: os.Exit below cli: return the error", s.at(c))
			}
		})
	}
}

func TestErrorsSayWhatWeWereDoing(t *testing.T) {
	for _, s := range code(t) {
		s.calls(func(c *ast.CallExpr, name string) {
			if (name != "fmt.Errorf" && name != "errors.New") || len(c.Args) == 0 {
				return
			}
			if lit, ok := c.Args[0].(*ast.BasicLit); ok && strings.Contains(strings.ToLower(lit.Value), "failed to") {
				t.Errorf(`%s: "failed to" in an error: name the action in the imperative ("start container a1b2: %%w")`, s.at(c))
			}
		})
	}
}

func TestNothingHappensBeforeMain(t *testing.T) {
	for _, s := range code(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init function: do it in New, or compute it where it is used", s.at(f))
			}
		}
	}
}

func TestRaftStaysAtTheVersionThatBuilds(t *testing.T) {
	text, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\s*(require )?github\.com/hashicorp/raft v1\.7\.3$`).Match(text) {
		t.Error("go.mod: github.com/hashicorp/raft must be v1.7.3: v1.8.0 needs a go-metrics that raft-boltdb/v2 v2.3.1 cannot be built with")
	}
}
