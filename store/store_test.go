package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"paas/cluster"
)

// childDir makes the test binary a server that is going to be killed.
const childDir = "STORE_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// child proposes apps for ever and prints the name of each that was acknowledged.
func child(dir string) error {
	s, err := Open(Config{Dir: dir, Node: nodeA})
	if err != nil {
		return err
	}
	if err := s.Bootstrap(); err != nil {
		return err
	}
	go func() { _ = s.Run(context.Background()) }() // ends with the process
	<-s.LeaderChanges()
	if _, err := s.Propose(context.Background(), bootstrapCommand()); err != nil {
		return err
	}
	for i := range 100_000 {
		c := CreateApp{By: by(i), Name: cluster.AppName(fmt.Sprintf("app-%d", i))}
		if _, err := s.Propose(context.Background(), c); err != nil {
			return err
		}
		fmt.Println(c.Name)
	}
	return nil
}

func TestAcknowledgedWritesSurviveAKill(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []cluster.AppName
	for lines := bufio.NewScanner(out); lines.Scan(); {
		acknowledged = append(acknowledged, cluster.AppName(lines.Text()))
		if len(acknowledged) == 100 { // lines that are still in the pipe count too
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acknowledged) < 100 {
		t.Fatalf("the child ended by itself after %d writes: %v", len(acknowledged), err)
	}
	s := run(t, dir)
	for _, name := range acknowledged {
		if _, err := s.State().App(name); err != nil {
			t.Errorf("acknowledged before the kill, gone after: %v", err)
		}
	}
	s.propose(t, CreateApp{By: by(1), Name: "after-the-kill"})
}

// running is a store that is run until stop.
type running struct {
	*Store
	stop func()
}

// run opens, bootstraps and runs a store in dir and waits until it leads.
func run(t *testing.T, dir string) *running {
	t.Helper()
	s, err := Open(Config{Dir: dir, Node: nodeA, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	return start(t, s)
}

func start(t *testing.T, s *Store) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("run store: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	select {
	case leads := <-s.LeaderChanges():
		if !leads {
			t.Fatal("store lost leadership before it had it")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("waited 10s for leadership")
	}
	return &running{Store: s, stop: stop}
}

func (r *running) propose(t *testing.T, c Command) Outcome {
	t.Helper()
	out, err := r.Propose(t.Context(), c)
	if err != nil {
		t.Fatalf("propose %T: %v", c, err)
	}
	return out
}

// TestSingleVoterLeadsSoon: 0.2 s on an idle host.
func TestSingleVoterLeadsSoon(t *testing.T) {
	began := time.Now()
	run(t, t.TempDir())
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("led after %s", took)
	}
}

func TestAcknowledgedWritesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := run(t, dir)
	s.propose(t, bootstrapCommand())
	for i := range 20 {
		s.propose(t, CreateApp{By: by(i), Name: cluster.AppName(fmt.Sprintf("app-%d", i))})
	}
	want := stateBytes(t, s.State())
	s.stop()

	again := run(t, dir) // Bootstrap does nothing here
	if got := stateBytes(t, again.State()); string(got) != string(want) {
		t.Error("the state after a restart differs from the one before")
	}
	out := again.propose(t, CreateApp{By: by(99), Name: "later"})
	if out.Index <= 21 {
		t.Errorf("index after restart is %d, want it to go on", out.Index)
	}
}

func TestConcurrentProposersAreAllAcknowledged(t *testing.T) {
	dir := t.TempDir()
	s := run(t, dir)
	s.propose(t, bootstrapCommand())
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			c := CreateApp{By: by(i), Name: cluster.AppName(fmt.Sprintf("app-%d", i))}
			out, err := s.Propose(t.Context(), c)
			if err != nil {
				t.Errorf("propose %s: %v", c.Name, err)
				return
			}
			if st := s.State(); st.Index() < out.Index {
				t.Errorf("acknowledged index %d, but the state is at %d", out.Index, st.Index())
			} else if _, err := st.App(c.Name); err != nil {
				t.Errorf("acknowledged app is not there: %v", err)
			}
		})
	}
	group.Wait()
	s.stop()
	again := run(t, dir)
	n := 0
	for range again.State().Apps() {
		n++
	}
	if n != 200 {
		t.Errorf("%d apps after the restart, want 200", n)
	}
}

func TestReadHoldsWhatWasAcknowledged(t *testing.T) {
	s := run(t, t.TempDir())
	s.propose(t, bootstrapCommand())
	out := s.propose(t, CreateApp{By: by(1), Name: "blog"})
	st, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Index() < out.Index {
		t.Errorf("read index %d, want at least %d", st.Index(), out.Index)
	}
}

func TestRefusedCommandComesBackAsItsOwnError(t *testing.T) {
	s := run(t, t.TempDir())
	s.propose(t, bootstrapCommand())
	_, err := s.Propose(t.Context(), CreateApp{By: by(1), Name: "Not Valid"})
	if cluster.KindOf(err) != cluster.KindInvalid {
		t.Errorf("got %v, want KindInvalid", err)
	}
}

func TestChangedWakesEveryWatcherOnce(t *testing.T) {
	s := run(t, t.TempDir())
	s.propose(t, bootstrapCommand())
	at := s.State().Index()
	var group sync.WaitGroup
	for range 50 {
		ch := s.Changed(at)
		group.Go(func() { <-ch })
	}
	far := s.Changed(at + 2)
	s.propose(t, CreateApp{By: by(1), Name: "one"})
	group.Wait()
	select {
	case <-far:
		t.Error("woken at an index that was not reached")
	default:
	}
	s.propose(t, CreateApp{By: by(2), Name: "two"})
	s.propose(t, CreateApp{By: by(3), Name: "three"})
	<-far
	<-s.Changed(0)
}

func TestProposeBeforeRunAndAfterItsEndIsUnavailable(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Node: nodeA})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Propose(t.Context(), bootstrapCommand()); cluster.KindOf(err) != cluster.KindUnavailable {
		t.Errorf("before Run: got %v, want KindUnavailable", err)
	}
	if _, err := s.Read(t.Context()); cluster.KindOf(err) != cluster.KindUnavailable {
		t.Errorf("read before Run: got %v, want KindUnavailable", err)
	}
	if err := s.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	r := start(t, s)
	r.propose(t, bootstrapCommand())
	r.stop()
	if _, err := s.Propose(t.Context(), bootstrapCommand()); cluster.KindOf(err) != cluster.KindUnavailable {
		t.Errorf("after Run: got %v, want KindUnavailable", err)
	}
	if s.Leading() {
		t.Error("a stopped store says that it leads")
	}
	if !s.State().Bootstrapped() {
		t.Error("a stopped store forgot its state")
	}
}

func TestSecondProcessIsRefusedTheDirectory(t *testing.T) {
	dir := t.TempDir()
	run(t, dir)
	_, err := Open(Config{Dir: dir, Node: nodeA})
	var e *cluster.Error
	if !errors.As(err, &e) || e.Code != "store_locked" {
		t.Errorf("got %v, want store_locked", err)
	}
}

func TestOpenedButNeverRunStoreCloses(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir, Node: nodeA})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	run(t, dir)
}

func TestFilesOfTheStoreAreTheOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := run(t, dir)
	s.propose(t, bootstrapCommand())
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, snapshotDir): 0o700, filepath.Join(dir, logFile): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %v, want %v", path, got, want)
		}
	}
}
