package cli

import (
	"path/filepath"
	"strings"
	"testing"
)

// A passphrase crosses the API as JSON, which has no place for other bytes: the
// backup would be sealed with one that nobody knows.
func TestPassphrasesAreText(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "pass", "caf\xe9 and more\n")
	b := &bench{t: t, env: map[string]string{"HOME": dir}}
	if code, said := b.run([]string{"backup", "restore", "file", "--data=" + dir + "/new", "--passphrase-file=" + filepath.Join(dir, "pass")}); code != exitUsage {
		t.Errorf("exit %d: %s", code, said)
	}
}

// What a restore says to do next works when it is pasted, and says what the state lacks.
func TestARestoreSaysWhatToDoNext(t *testing.T) {
	b := newBench(t)
	b.env["PAAS_BACKUP_PASSPHRASE"] = "correct horse battery"
	for _, line := range []string{"backup create x.backup", "backup restore x.backup --data restored"} {
		code, said := b.run(strings.Fields(line))
		if code != 0 {
			t.Fatalf("paas %s: %d %s", line, code, said)
		}
		if !strings.Contains(line, "restore") {
			continue
		}
		dir, err := filepath.Abs("restored")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"paas server --data " + dir + "\n", "paas up --detach --data " + dir + "\n", "holds no images", "git push paas main"} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not in:\n%s", want, said)
			}
		}
	}
}
