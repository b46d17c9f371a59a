package cli

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestTheNextCommandNamesTheDataDirectory: "paas up" alone would make a new, empty
// cluster in the usual directory, and take the context over.
func TestTheNextCommandNamesTheDataDirectory(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_DATA_HOME", "")
	t.Setenv("PAAS_HOME", filepath.Join(home, "paas"))
	for dir, flag := range map[string]string{
		filepath.Join(home, ".local/share/paas/dev"): "",
		filepath.Join(home, "try"):                   " --data " + filepath.Join(home, "try"),
		filepath.Join(home, "a b"):                   " --data '" + filepath.Join(home, "a b") + "'",
	} {
		lock, err := lockData(dir)
		if err != nil {
			t.Fatal(err)
		}
		lock.release()
		if err := (&upRecord{Context: devContext, Data: dir}).write(dir); err != nil {
			t.Fatal(err)
		}
		want := "paas up --detach" + flag + "\n"
		if _, errs, code := paasIn(t, "down", "--data", dir); code != exitOK || !strings.HasSuffix(errs, "Next: "+want) {
			t.Errorf("down: exit %d, %q; want %q", code, errs, want)
		}
		at := &target{name: devContext, server: "https://127.0.0.1:1", token: fakeToken, data: dir}
		if err := (settings{filepath.Join(home, "paas")}).put(at, makeCurrent); err != nil {
			t.Fatal(err)
		}
		if _, errs, code := paasIn(t, "apps"); code != exitFailed || !strings.HasSuffix(errs, "start it with: "+want) {
			t.Errorf("a server that is not there: exit %d, %q; want %q", code, errs, want)
		}
	}
	dir := filepath.Join(home, "server")
	lock, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock.release()
	if err := (&upRecord{Data: dir}).write(dir); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := paasIn(t, "down", "--data", dir); code != exitOK || strings.Contains(errs, "Next") {
		t.Errorf("down of a server: exit %d, %q", code, errs)
	}
}
