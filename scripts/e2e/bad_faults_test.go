//go:build e2e && faults

package e2e

import (
	"testing"
	"time"
)

// TestFaultBadReleases are those that need their time to be found out.
func TestFaultBadReleases(t *testing.T) {
	refuse(t, 10, "", []bad{
		{name: "hangs", code: 6, boot: 10 * time.Second, files: map[string]string{"Procfile": "web: /probe -deaf\n", "paas.toml": "[process.web]\ncheck = { boot = \"10s\" }\n"},
			wants: []string{"did not listen on port 8080 within 10s", "probe listens on nothing"}},
		{name: "fails its check", code: 6, boot: 10 * time.Second, files: map[string]string{"paas.toml": "[process.web]\ncheck = { kind = \"http\", path = \"/ill\", boot = \"10s\" }\n"},
			wants: []string{"GET /ill answered 503", "probe listening on 8080"}},
	})
}

// TestFaultExitLate: a release that is healthy for 20 s of the 25 that it is watched
// goes whole, be it the code or the configuration that is bad; meanwhile the one
// before answers everything.
func TestFaultExitLate(t *testing.T) {
	const settings = "[deploy]\nmin_healthy = \"25s\"\n"
	wants := []string{"exited with code 3", "cannot find configuration ./config/prod"}
	refuse(t, 50, settings, []bad{
		{name: "code", code: 6, files: map[string]string{"Procfile": "web: /probe -crash 20s\n"}, wants: wants},
		{name: "configuration", code: 6, args: []string{"config", "set", "PROBE_CRASH=20s"}, wants: wants},
	})
}
