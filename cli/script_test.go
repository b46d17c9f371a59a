package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"paas": func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the program as its users do, against the real API handler.
// Golden files are renewed with: UPDATE=1 go test ./cli
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(e *testscript.Env) error {
			srv, err := newFake()
			if err != nil {
				return err
			}
			e.Defer(srv.Close)
			home := filepath.Join(e.WorkDir, "home")
			files := settings{filepath.Join(home, "paas")}
			if err := files.put(&target{name: "test", server: srv.URL, token: fakeToken}, makeCurrent); err != nil {
				return err
			}
			for key, value := range map[string]string{"HOME": home, "PAAS_HOME": files.dir,
				"SERVER": srv.URL, "TOKEN": fakeToken, "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CEILING_DIRECTORIES": e.WorkDir, "USER": "maria", "TZ": "UTC"} {
				e.Setenv(key, value)
			}
			return nil
		},
	})
}
