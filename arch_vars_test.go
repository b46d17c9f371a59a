package main

import (
	"go/ast"
	"go/token"
	"slices"
	"testing"
)

// constructors make values that nobody changes afterwards.
var constructors = []string{"errors.New", "fmt.Errorf", "regexp.MustCompile", "template.Must", "strings.NewReplacer",
	"netip.MustParsePrefix", "netip.MustParseAddr", "cluster.Errorf", "cluster.Invalid", "cluster.NotFound",
	"cluster.Conflict", "time.Date", "big.NewInt"}

func TestNoMutablePackageVariables(t *testing.T) {
	sources := code(t)
	changed := map[string]bool{}
	for _, s := range sources {
		for _, name := range s.changed() {
			changed[s.dir+"."+name] = true
		}
	}
	for _, s := range sources {
		s.packageVars(func(spec *ast.ValueSpec, i int) {
			name := spec.Names[i].Name
			key := s.dir + "." + name
			if name == "_" || variables[key] != "" || s.embedded(spec) {
				return
			}
			if i >= len(spec.Values) || !constantValue(spec.Values[i]) {
				t.Errorf("%s: package variable %s: make it a constant, a field of Config, or a local; or give a reason in variables", s.at(spec), name)
			} else if changed[key] {
				t.Errorf("%s: package variable %s is changed: make it a field of what owns it", s.at(spec), name)
			}
		})
	}
}

// packageVars yields each name of each package-level var.
func (s *source) packageVars(each func(spec *ast.ValueSpec, i int)) {
	for _, d := range s.file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok {
				for i := range v.Names {
					each(v, i)
				}
			}
		}
	}
}

// embedded reports whether a go:embed directive fills the variable.
func (s *source) embedded(spec *ast.ValueSpec) bool {
	return s.imports("embed") && len(spec.Values) == 0
}

// constantValue reports whether x is an error, a pattern, or a table: as near to
// a constant as Go gets.
func constantValue(x ast.Expr) bool {
	switch v := x.(type) {
	case *ast.CompositeLit:
		return true
	case *ast.CallExpr:
		if sel, ok := v.Fun.(*ast.SelectorExpr); ok {
			if p, ok := sel.X.(*ast.Ident); ok {
				return slices.Contains(constructors, p.Name+"."+sel.Sel.Name)
			}
			// cluster.Invalid(…).WithHint(…): as constant as what it began with.
			return constantValue(sel.X)
		}
		_, conversion := v.Fun.(*ast.ArrayType) // []byte("…")
		return conversion
	}
	return false
}

// changed lists the package variables that s assigns to, whole or in part.
func (s *source) changed() []string {
	var out []string
	for _, d := range s.file.Decls {
		local := locals(d)
		ast.Inspect(d, func(n ast.Node) bool {
			for _, x := range targets(n) {
				if name := root(x); name != "" && !local[name] {
					out = append(out, name)
				}
			}
			return true
		})
	}
	return out
}

// targets is what a statement changes.
func targets(n ast.Node) []ast.Expr {
	switch v := n.(type) {
	case *ast.AssignStmt:
		if v.Tok != token.DEFINE {
			return v.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{v.X}
	case *ast.CallExpr:
		if f, ok := v.Fun.(*ast.Ident); ok && (f.Name == "delete" || f.Name == "clear") && len(v.Args) > 0 {
			return v.Args[:1]
		}
	}
	return nil
}

// locals is every name that a function declares: what is assigned to it is not
// assigned to a package variable of that name. It is blind to scopes, and so
// errs on the side of silence.
func locals(d ast.Decl) map[string]bool {
	names := map[string]bool{}
	if _, ok := d.(*ast.FuncDecl); !ok {
		return names
	}
	add := func(xs ...ast.Expr) {
		for _, x := range xs {
			if id, ok := x.(*ast.Ident); ok {
				names[id.Name] = true
			}
		}
	}
	ast.Inspect(d, func(n ast.Node) bool {
		switch v := n.(type) {
		case *ast.AssignStmt:
			if v.Tok == token.DEFINE {
				add(v.Lhs...)
			}
		case *ast.RangeStmt:
			if v.Tok == token.DEFINE {
				add(v.Key, v.Value)
			}
		case *ast.Field:
			for _, id := range v.Names {
				add(id)
			}
		case *ast.ValueSpec:
			for _, id := range v.Names {
				add(id)
			}
		}
		return true
	})
	return names
}

// root is the variable at the bottom of a.b[c].d.
func root(x ast.Expr) string {
	for {
		switch v := x.(type) {
		case *ast.Ident:
			return v.Name
		case *ast.SelectorExpr:
			x = v.X
		case *ast.IndexExpr:
			x = v.X
		case *ast.StarExpr:
			x = v.X
		case *ast.ParenExpr:
			x = v.X
		default:
			return ""
		}
	}
}
