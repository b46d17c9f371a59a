package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/api"
	"paas/cluster"
)

// release is the image of a release of the app "blog", as the engine names it.
func release(n int) imageRef {
	return imageRef{Registry: cluster.RegistryEndpoint{Address: "reg"}, Image: cluster.Image{Repository: "apps/blog", Digest: fmt.Sprint("sha256:", n)}}
}

// assigned is an assignment of that release.
func assigned(id cluster.AllocationID, n int) api.Assignment {
	a := assignment(id, sleeps...)
	a.Image = release(n).Image
	return a
}

// have gives the engine images by name.
func (n *node) have(names ...string) {
	n.fake.mu.Lock()
	defer n.fake.mu.Unlock()
	for _, name := range names {
		n.fake.images[name] = true
	}
}

// left are the images that the engine has, but for the one that all tests have.
func (n *node) left() string {
	n.t.Helper()
	synctest.Wait()
	names, err := n.fake.Names(n.t.Context())
	if err != nil {
		n.t.Fatal(err)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// retain is a retention of the node, with a disk that has so much of 100 free.
func (n *node) retain(known spares, free func() int64) (r *retention, saved *[]spares) {
	saved = &[]spares{}
	return &retention{images: n.fake, containers: n.fake, mirror: "reg", assigned: n.m.images, pins: n.m.shared.pins, filled: make(chan struct{}, 1),
		space: func() (cluster.Space, bool) {
			return cluster.Space{Path: "/", TotalBytes: 100, FreeBytes: free()}, true
		},
		save: func(s spares) error { *saved = append(*saved, s); return nil }, log: slog.New(slog.DiscardHandler), spares: known, saved: known}, saved
}

func always90() int64 { return 90 }

// background runs r until the test ends.
func (n *node) background(r *retention) (end func()) {
	ctx, cancel := context.WithCancel(n.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.run(ctx) })
	return func() { cancel(); wg.Wait() }
}

func TestImagesThatNothingUsesGoAfterADay(t *testing.T) {
	inBubble(t, func(n *node) {
		others := "127.0.0.1:5000/apps/blog@sha256:1"
		n.have("reg/apps/blog@sha256:1", "reg/apps/blog@sha256:2", "reg/apps/blog@sha256:3", others, "registry/x@sha256:1")
		n.begin(setOf(assigned("a-2", 2)))
		defer func() { n.stop() }()
		r, saved := n.retain(spares{}, always90)
		defer n.background(r)()
		all := others + " reg/apps/blog@sha256:1 reg/apps/blog@sha256:2 reg/apps/blog@sha256:3 registry/x@sha256:1"
		time.Sleep(12 * time.Hour)
		if got := n.left(); got != all {
			t.Errorf("after half a day: %s", got)
		}
		three := assigned("a-3", 3)
		n.m.assign(setOf(assigned("a-2", 2), three))
		time.Sleep(11 * time.Hour)
		three.Desired = cluster.DesiredStop
		n.m.assign(setOf(assigned("a-2", 2), three))
		time.Sleep(3 * time.Hour)
		if got := n.left(); got != strings.Replace(all, "reg/apps/blog@sha256:1 ", "", 1) {
			t.Errorf("after a day: %s", got)
		}
		n.m.assign(setOf(assigned("a-2", 2)))
		time.Sleep(25 * time.Hour)
		if got := n.left(); got != others+" reg/apps/blog@sha256:2 registry/x@sha256:1" {
			t.Errorf("a day after its last use: %s", got)
		}
		before := len(*saved)
		time.Sleep(10 * 24 * time.Hour)
		if got := n.left(); got != others+" reg/apps/blog@sha256:2 registry/x@sha256:1" || len(*saved) != before {
			t.Errorf("later: %s, saved %d times for nothing", got, len(*saved)-before)
		}
	})
}

// What is known of images is written down as soon as that is possible, and a disk that
// takes nothing is told of once, also when the engine was away before.
func TestAgesThatWereNotSavedAreSavedLater(t *testing.T) {
	inBubble(t, func(n *node) {
		n.have("reg/apps/blog@sha256:1")
		n.begin(setOf(assigned("a-2", 2)))
		defer func() { n.stop() }()
		r, saved := n.retain(spares{}, always90)
		log, save := &said{}, r.save
		var full atomic.Bool
		full.Store(true)
		r.log = slog.New(slog.NewTextHandler(log, nil))
		r.save = func(s spares) error {
			if full.Load() {
				return errors.New("no space left on device")
			}
			return save(s)
		}
		n.fake.setDown()
		defer n.background(r)()
		time.Sleep(90 * time.Minute)
		n.fake.setUp()
		time.Sleep(3 * time.Hour)
		if got := strings.Count(log.String(), "no space left on device"); got != 1 {
			t.Errorf("it was said %d times:\n%s", got, log)
		}
		full.Store(false)
		time.Sleep(3 * time.Hour)
		if len(*saved) != 1 || len((*saved)[0].Since) != 1 {
			t.Errorf("saved: %+v", *saved)
		}
	})
}

// A disk that fills is freed at once, and no more is removed than that takes.
func TestFullDiskTakesTheLongestUnusedImagesFirst(t *testing.T) {
	inBubble(t, func(n *node) {
		n.begin(setOf(assigned("a-9", 9)))
		defer func() { n.stop() }()
		n.have(release(9).String())
		var other int64
		r, _ := n.retain(spares{}, func() int64 { // each image takes 10 of the disk
			n.fake.mu.Lock()
			defer n.fake.mu.Unlock()
			return 100 - 10*int64(len(n.fake.images)) - other
		})
		defer n.background(r)()
		for _, name := range []string{"3", "1", "2"} {
			n.have("reg/apps/blog@sha256:" + name)
			time.Sleep(2 * time.Hour)
		}
		fill := func(by int64) {
			n.fake.mu.Lock()
			other += by
			n.fake.mu.Unlock()
			wake(r.filled)
			time.Sleep(2 * sparesPause)
		}
		if got := n.left(); got != "reg/apps/blog@sha256:1 reg/apps/blog@sha256:2 reg/apps/blog@sha256:3 reg/apps/blog@sha256:9" {
			t.Errorf("ample: %s", got)
		}
		fill(31) // 81 of 100 are used
		if got := n.left(); got != "reg/apps/blog@sha256:1 reg/apps/blog@sha256:2 reg/apps/blog@sha256:9" {
			t.Errorf("tight: %s", got)
		}
		n.have("reg/apps/blog@sha256:4")
		fill(1)
		time.Sleep(20 * time.Minute)
		if got := n.left(); got != "reg/apps/blog@sha256:2 reg/apps/blog@sha256:4 reg/apps/blog@sha256:9" {
			t.Errorf("tight again: %s", got)
		}
		fill(50)
		if got := n.left(); got != "reg/apps/blog@sha256:9" {
			t.Errorf("full: %s", got)
		}
	})
}

// A command runs for days and nothing else needs its image: that is a use, too. What is
// assigned is one although it has no container now.
func TestContainersAndAssignmentsAreUses(t *testing.T) {
	inBubble(t, func(n *node) {
		n.have(release(1).String(), release(2).String())
		n.begin(setOf(assigned("a-2", 2)))
		defer func() { n.stop() }()
		id, err := n.fake.Create(t.Context(), spec{Cluster: "c0ffee", Assignment: assigned("a-1", 1), Image: release(1), OneOff: &oneOff{Name: "x", Life: n.m.shared.life}})
		if err != nil {
			t.Fatal(err)
		}
		r, _ := n.retain(spares{}, always90)
		end := n.background(r)
		time.Sleep(48 * time.Hour)
		if err := n.fake.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(22 * time.Hour)
		if got := n.left(); got != release(1).String()+" "+release(2).String() {
			t.Errorf("after its last use: %s", got)
		}
		end()
		without := newFake()
		without.images = n.fake.images
		r.images, r.containers = without, without
		defer n.background(r)()
		time.Sleep(48 * time.Hour)
		if got := n.left(); got != release(2).String() {
			t.Errorf("in the end: %s", got)
		}
	})
}

// What is about to be started is not removed, even if nobody knows of it yet.
func TestImageOfAReplicaThatStartsStays(t *testing.T) {
	inBubble(t, func(n *node) {
		n.have(release(1).String())
		n.begin(setOf())
		defer func() { n.stop() }()
		r, _ := n.retain(spares{}, func() int64 { return 1 })
		r.assigned = func() []imageRef { return nil }
		for range cap(n.m.shared.starts) { // it has found its image, and waits for its turn
			n.m.shared.starts <- struct{}{}
		}
		n.m.assign(setOf(assigned("a-1", 1)))
		synctest.Wait()
		for range 2 {
			if _, err := r.pass(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		<-n.m.shared.starts
		time.Sleep(10 * time.Second)
		n.saw("0s starting c1", "0s healthy c1")
	})
}

// Who wants an image that is being removed gets it anew.
func TestHoldWaitsForARemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPins()
		begun, end := make(chan struct{}), make(chan struct{})
		go func() {
			_, _ = p.remove("reg/apps/blog@sha256:1", func() (bool, error) { close(begun); <-end; return true, nil })
		}()
		<-begun
		brief, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := p.hold(brief, release(1)); err == nil {
			t.Error("an image was held that is being removed")
		}
		close(end)
		free, err := p.hold(t.Context(), release(1))
		if err != nil {
			t.Fatal(err)
		}
		drop := func() (bool, error) { return true, nil }
		if gone, _ := p.remove("reg/apps/blog@sha256:1", drop); gone {
			t.Error("an image was removed that somebody holds")
		}
		if other, _ := p.remove("reg/apps/blog@sha256:2", drop); !other {
			t.Error("another image was not removed")
		}
		_ = p.news()
		free()
		if got := slices.Collect(maps.Keys(p.news())); len(got) != 1 {
			t.Errorf("news: %v", got)
		}
		if gone, _ := p.remove("reg/apps/blog@sha256:1", drop); !gone || len(p.news()) != 0 {
			t.Error("an image that nobody holds any more was not removed")
		}
	})
}

func TestSparesAreOfThisHostsMirrorsOnly(t *testing.T) {
	now := time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)
	old := now.Add(-time.Hour)
	names := []string{"127.0.0.1:1/apps/a@sha256:1", "127.0.0.1:1/apps/b@sha256:1", "127.0.0.1:2/apps/a@sha256:1", "127.0.0.1:22/apps/a@sha256:1", "example.com/apps/a@sha256:1"}
	s := spares{Mirrors: []string{"127.0.0.1:1", "127.0.0.1:3"}, Since: map[string]time.Time{names[0]: old, "127.0.0.1:1/apps/gone@sha256:1": old}}
	got := s.after("127.0.0.1:2", names, map[string]bool{names[1]: true}, now)
	want := spares{Mirrors: []string{"127.0.0.1:1", "127.0.0.1:2"}, Since: map[string]time.Time{names[0]: old, names[2]: now}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if again := got.after("127.0.0.1:2", names, map[string]bool{names[1]: true}, now.Add(time.Hour)); !again.equal(got) {
		t.Errorf("a second look: %+v", again)
	}
	if back := got.after("127.0.0.1:2", names, nil, old); !back.Since[names[2]].Equal(old) { // the clock was set back
		t.Errorf("an age from the future: %+v", back)
	}
	m, err := openMemory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.close() }()
	if s, err := m.spared(); err != nil || len(s.Since) != 0 {
		t.Errorf("nothing yet: %+v, %v", s, err)
	}
	if err := m.saveSpares(got); err != nil {
		t.Fatal(err)
	}
	if s, err := m.spared(); err != nil || !s.equal(got) {
		t.Errorf("remembered %+v, %v", s, err)
	}
}
