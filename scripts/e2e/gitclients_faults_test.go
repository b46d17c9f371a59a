//go:build e2e && faults

package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// dulwichPython is the distribution's own: another in PATH does not see its packages.
const dulwichPython = "/usr/bin/python3"

// dulwichPush is arguments: folder, URL, token, "force" or "". It prints what the
// server says, and exits with 3 where dulwich says that the push or a ref failed.
const dulwichPush = `
import io, sys
from dulwich import porcelain
dir, url, token, force = sys.argv[1:]
said = io.BytesIO()
failed = ""
try:
    porcelain.push(dir, url, "refs/heads/main:refs/heads/main", outstream=said, errstream=said, force=bool(force), username="paas", password=token)
except porcelain.Error as e:
    failed = str(e)
text = said.getvalue().decode()
for line in text.splitlines():
    if line.startswith("Push of ref "):
        failed = line
print(text)
if failed:
    print(failed, file=sys.stderr)
    sys.exit(3)
`

// TestFaultDulwichPushes: dulwich is what tools in Python push with.
func TestFaultDulwichPushes(t *testing.T) {
	if out, err := exec.Command(dulwichPython, "-c", "import dulwich").CombinedOutput(); err != nil {
		t.Fatalf("there is no dulwich: install it with: scripts/host faults (%s)", tail(string(out), 1))
	}
	h := newHost(t)
	pushesFrom(t, h, "dulwich", func(a access) pusher { return &dulwich{host: h, access: a} })
}

// dulwich commits with git, which porcelain has no words for, and pushes by itself.
type dulwich struct {
	*host
	access
}

func (d *dulwich) commit(dir, message string, amend bool) {
	d.t.Helper()
	if _, code := d.git(dir, "rev-parse", "--git-dir"); code != 0 {
		for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"config", "http.sslCAInfo", d.caFile}} {
			if out, code := d.git(dir, args...); code != 0 {
				d.t.Fatalf("git %v: %s", args, out)
			}
		}
	}
	if !amend {
		d.host.commit(dir, message)
		return
	}
	if out, code := d.git(dir, "commit", "-q", "-a", "--amend", "-m", message); code != 0 {
		d.t.Fatal(out)
	}
}

func (d *dulwich) push(dir string, force bool) (said, failed string) {
	d.t.Helper()
	word := ""
	if force {
		word = "force"
	}
	out, errs, code := d.run(dir, "", dulwichPython, "-c", dulwichPush, dir, d.url, d.token, word)
	switch code {
	case 0:
		return out, ""
	case 3:
		return out, strings.TrimSpace(errs)
	}
	d.t.Fatalf("dulwich: exit %d\n%s%s", code, out, errs)
	return "", ""
}
