package cli

import (
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestOneProcessPerDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	me := &upRecord{PID: os.Getpid(), Began: beginOf(os.Getpid())}
	if err := me.write(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := lockData(dir); exitCode(err) != exitConflict || !strings.Contains(asError(err).Hint, "paas down --data "+dir) {
		t.Fatalf("second process: %v", err)
	}
	first.release()
	again, err := lockData(dir)
	if err != nil {
		t.Fatal(err)
	}
	again.release()
}

func TestARecordKnowsItsProcess(t *testing.T) {
	me := &upRecord{PID: os.Getpid(), Began: beginOf(os.Getpid())}
	if !me.alive() {
		t.Error("this process does not know itself")
	}
	if (&upRecord{PID: os.Getpid(), Began: "another time"}).alive() {
		t.Error("a process with the same number counts as the same one")
	}
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	child := &upRecord{PID: cmd.Process.Pid, Began: beginOf(cmd.Process.Pid)}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if child.alive() || (&upRecord{}).alive() {
		t.Error("a process that ended lives")
	}
}

// A copied data directory holds the original's record: its process is not the
// copy's to stop, nor its context the copy's to drop.
func TestACopyIsNotTheOriginalsProcess(t *testing.T) {
	dir, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	me := &upRecord{PID: os.Getpid(), Began: beginOf(os.Getpid()), Data: dir, Context: devContext, Cluster: "feedfeedfeedfeed"}
	if err := errors.Join(me.write(dir), os.Symlink(dir, link)); err != nil {
		t.Fatal(err)
	}
	if r, err := readRecord(link); err != nil || !r.alive() {
		t.Errorf("by another name of the same directory: %+v, %v", r, err)
	}
	other := t.TempDir()
	if err := me.write(other); err != nil {
		t.Fatal(err)
	}
	if r, err := readRecord(other); err != nil || r.alive() || r.Context != "" || r.Cluster != me.Cluster {
		t.Errorf("in a copy: %+v, %v", r, err)
	}
}

// A host that ends hours after it was ready must not tell its parent again: the
// number of that descriptor is by then a database's or a connection's.
func TestTheParentIsToldOnce(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd, err := syscall.Dup(int(w.Fd()))
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	set := flag.NewFlagSet("up", flag.ContinueOnError)
	set.Int("ready-fd", fd, "")
	news := &teller{invocation: &invocation{Context: cli.NewContext(&cli.App{}, set, nil)}}
	news.tell(&upRecord{PID: 7}, nil)
	if got, err := awaitChild(t.Context(), r, "up.log"); err != nil || got.Ready == nil || got.Ready.PID != 7 {
		t.Fatalf("the parent heard %+v, %v", got, err)
	}
	other, err := os.Create(filepath.Join(t.TempDir(), "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := syscall.Dup3(int(other.Fd()), fd, 0); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	news.tell(nil, errors.New("the end"))
	if info, err := other.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("the file that has the number now got %d bytes, %v", info.Size(), err)
	}
}

// What is said to a host that goes to the background has to reach it, all of it.
func TestABackgroundHostGetsEveryFlag(t *testing.T) {
	set := flag.NewFlagSet("up", flag.ContinueOnError)
	values := map[string]string{}
	for _, f := range upVerb().flags {
		if err := f.Apply(set); err != nil {
			t.Fatal(err)
		}
		name, value := f.Names()[0], "9m0s"
		switch f.(type) {
		case *cli.BoolFlag:
			value = "true"
		case *cli.IntFlag:
			value = "9"
		}
		values[name] = value
		if err := set.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	in := &invocation{Context: cli.NewContext(&cli.App{}, set, nil)}
	args := in.backgroundArgs("/data")
	values["data"], values["ready-fd"] = "/data", "3"
	delete(values, "detach")
	for name, value := range values {
		if !slices.Contains(args, "--"+name+"="+value) {
			t.Errorf("--%s is not in %q", name, args)
		}
	}
	if len(args) != len(values)+1 {
		t.Errorf("%q, want up and %d flags", args, len(values))
	}
}

// Ctrl-C while a host stops, or starts, says what goes on and not that it failed.
func TestLeavingAHostThatStopsIsNoFailure(t *testing.T) {
	sleeper := exec.Command("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
	out, err := sleeper.StdoutPipe()
	if err == nil {
		err = sleeper.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	if _, err := out.Read(make([]byte, 8)); err != nil { // it no longer listens
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := &upRecord{PID: sleeper.Process.Pid, Began: beginOf(sleeper.Process.Pid)}
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	in := &invocation{program: &program{out: newOutput(io.Discard, io.Discard, os.Getenv)}, Context: cli.NewContext(&cli.App{}, flag.NewFlagSet("down", flag.ContinueOnError), nil)}
	for what, err := range map[string]error{"stopping": in.stop(ctx, dir, r), "starting": in.alreadyUp(ctx, dir, r)} {
		if exitCode(err) != exitInterrupted || !strings.Contains(asError(err).Message, "goes on "+what) {
			t.Errorf("%s: exit %d, %v", what, exitCode(err), err)
		}
	}
}

func TestWipeRemovesOnlyWhatIsOurs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"thesis.txt", "cluster.cbor", "up.log", "lock"} {
		writeFile(t, dir, name, "x")
	}
	for _, name := range []string{"git/blog.git", "photos", "raft"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := (&invocation{}).wipe(t.Context(), dir, removeDir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 || entries[0].Name() != "photos" || entries[1].Name() != "thesis.txt" {
		t.Fatalf("left: %v, %v", entries, err)
	}
	if isData(dir) {
		t.Error("what is left counts as ours")
	}
}

func TestPurgeRefusesForeignDirectories(t *testing.T) {
	t.Setenv("PAAS_HOME", t.TempDir())
	dir := t.TempDir()
	writeFile(t, dir, "thesis.txt", "x")
	if _, errs, code := paasIn(t, "down", "--purge", "--yes", "--data", dir); code != exitUsage || !strings.Contains(errs, "was not made by paas") {
		t.Fatalf("exit %d\n%s", code, errs)
	}
	if _, errs, code := paasIn(t, "down", "--purge", "--yes", "--data", filepath.Join(dir, "nosuch")); code != 0 {
		t.Fatalf("nothing there: exit %d\n%s", code, errs)
	}
	if _, errs, code := paasIn(t, "down", "--data", filepath.Join(dir, "nosuch")); code != 0 || !strings.Contains(errs, "Nothing runs") {
		t.Fatalf("down where nothing runs: exit %d\n%s", code, errs)
	}
}

func TestPorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	busy := taken.Addr().String()
	at := func(value string, args ...string) *cli.Context {
		set := flag.NewFlagSet("up", flag.ContinueOnError)
		set.String("http", value, "")
		if err := set.Parse(args); err != nil {
			t.Fatal(err)
		}
		return cli.NewContext(&cli.App{}, set, nil)
	}
	if addr, moved, err := choosePort(at(busy), "http", ""); err != nil || !moved || addr == busy {
		t.Errorf("a busy default: %s %v %v", addr, moved, err)
	}
	if _, _, err := choosePort(at("127.0.0.1:1", "--http="+busy), "http", ""); exitCode(err) != exitConflict || !strings.Contains(asError(err).Reason, "listens there") {
		t.Errorf("a busy explicit one: %v", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	kept := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	if addr, _, err := choosePort(at(busy), "http", kept); err != nil || addr != kept {
		t.Errorf("the one of before: %s %v", addr, err)
	}
	if _, _, err := choosePort(at("nowhere"), "http", ""); exitCode(err) != exitUsage {
		t.Errorf("no address: %v", err)
	}
}

func TestEngineErrorsSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	stopped := filepath.Join(dir, "stopped.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stopped, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"unix://" + dir + "/nosuch.sock": "apt-get install docker.io", "unix://" + stopped: "systemctl start docker"} {
		t.Setenv("DOCKER_HOST", host)
		if _, err := checkEngine(t.Context()); err == nil || !strings.Contains(asError(err).Hint, want) {
			t.Errorf("%s: %v (%s)", host, err, asError(err).Hint)
		}
	}
	t.Setenv("PAAS_HOME", t.TempDir())
	if out, errs, code := paasIn(t, "up", "--data", filepath.Join(dir, "data")); code != exitFailed || !strings.Contains(errs, "Do ") {
		t.Errorf("up without an engine: exit %d\n%s%s", code, out, errs)
	}
	for host, want := range map[string]string{"unix://" + dir + "/nosuch.sock": "✗ no Docker Engine listens", "unix://" + stopped: "✗ Docker Engine"} {
		t.Setenv("DOCKER_HOST", host)
		if out, _, code := paasIn(t, "doctor"); code != exitFailed || !strings.Contains(out, want) {
			t.Errorf("doctor without an engine: exit %d, want %q\n%s", code, want, out)
		}
	}
}

func TestNotifySpeaksToSystemd(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	env := func(k string) string { return map[string]string{"NOTIFY_SOCKET": name}[k] }
	if err := notify(env, "READY=1"); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := l.Read(buf); err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("got %q, %v", buf[:n], err)
	}
	if err := notify(func(string) string { return "" }, "READY=1"); err != nil {
		t.Fatalf("without systemd: %v", err)
	}
}

func TestServerRefusesWhatItCannotDo(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"server"}, "The data directory is missing"},
		{[]string{"server", "--data", t.TempDir(), "--listen", "nowhere"}, "listen \"nowhere\" is not an address"},
		{[]string{"server", "--data", t.TempDir(), "--log-level", "loud"}, "--log-level loud is not known"},
		{[]string{"server", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--acme-ca", "/nosuch"}, "/nosuch cannot be read"},
	} {
		if _, errs, code := paasIn(t, c.args...); code != exitUsage || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d\n%s", c.args, code, errs)
		}
	}
}
