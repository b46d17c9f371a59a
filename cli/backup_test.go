package cli

import (
	"path/filepath"
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
