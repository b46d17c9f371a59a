package agent

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"paas/api"
	"paas/cluster"
)

func TestMemory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "agent")
	open := func() *memory {
		t.Helper()
		m, err := openMemory(dir)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := open()
	if set, err := m.assignments(); set != nil || err != nil {
		t.Fatalf("a new memory: %v, %v", set, err)
	}
	a := assignment("a-1", "true")
	a.Env["PASSWORD"] = "correct-horse-battery-staple"
	want := setOf(a)
	seen := api.Observed{ID: "a-1", Log: []string{"the-secret-log-line"}, Observation: cluster.Observation{State: cluster.AllocationHealthy,
		ContainerID: "c1", StartedAt: time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC), Restarts: 2}}
	for _, err := range []error{m.saveAssignments(want), m.saveObserved(seen), m.saveObserved(api.Observed{ID: "a-2"}), m.saveRegistry(cluster.RegistryEndpoint{Address: "127.0.0.1:5000", Password: "pull-password"}), m.forget("a-2"), m.close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	m = open()
	got, err := m.assignments()
	if err != nil || cmp.Diff(want, got) != "" {
		t.Errorf("assignments: %v %s", err, cmp.Diff(want, got))
	}
	if e, err := m.registry(); err != nil || e == nil || e.Address != "127.0.0.1:5000" || e.Password.Reveal() != "pull-password" {
		t.Errorf("registry: %v, %v", e, err)
	}
	all, err := m.observed()
	if err != nil || cmp.Diff([]api.Observed{seen}, all) != "" || all[0].Observation != seen.Observation {
		t.Errorf("observed: %v %s", err, cmp.Diff([]api.Observed{seen}, all))
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s", f.Name(), info.Mode())
		}
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"correct-horse", "PASSWORD", "secret-log", "8080", "pull-password"} {
			if bytes.Contains(data, []byte(secret)) {
				t.Errorf("%s holds %q in plain", f.Name(), secret)
			}
		}
	}
}

func TestBrokenMemoryIsPutAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, memoryFile)
	if err := os.WriteFile(path, bytes.Repeat([]byte("no database"), 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := openMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.close() }()
	if set, err := m.assignments(); set != nil || err != nil {
		t.Errorf("got %v, %v", set, err)
	}
	if _, err := os.Stat(path + ".broken"); err != nil {
		t.Error(err)
	}
}

func TestBoard(t *testing.T) {
	b := newBoard(nil, func(api.Observed) {}, func(cluster.AllocationID) {})
	put := func(id cluster.AllocationID, s cluster.AllocationState) {
		b.put(api.Observed{ID: id, Observation: cluster.Observation{State: s}})
	}
	put("a-2", cluster.AllocationStarting)
	put("a-1", cluster.AllocationStarting)
	put("a-2", cluster.AllocationHealthy)
	put("a-2", cluster.AllocationHealthy) // no news
	var got []string
	for _, o := range b.take() {
		got = append(got, string(o.ID)+" "+o.Observation.State.String())
	}
	if d := cmp.Diff([]string{"a-2 starting", "a-1 starting", "a-2 healthy"}, got); d != "" {
		t.Error(d)
	}
	put("a-1", cluster.AllocationHealthy)
	if all := b.all(); len(all) != 2 || all[0].ID != "a-1" || len(b.take()) != 0 {
		t.Errorf("all: %v; what it held is sent again", all)
	}
	b.forget("a-1")
	if _, ok := b.get("a-1"); ok {
		t.Error("not forgotten")
	}
	for i := range 100 {
		b.put(api.Observed{ID: cluster.AllocationID(fmt.Sprintf("b-%d", i)), Observation: cluster.Observation{State: cluster.AllocationBackoff},
			Log: []string{strings.Repeat("x", evidenceSent/10)}})
	}
	with := 0
	for _, o := range b.all() {
		with += len(o.Log)
	}
	if with < 9 || with > 10 || len(b.all()) != 101 {
		t.Errorf("%d of %d come with their last words: a session may be too big to begin", with, len(b.all()))
	}
}

// TestDamagedMemoryIsPutAside damages one page after the other: bbolt panics at some.
func TestDamagedMemoryIsPutAside(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, memoryFile)
	m, err := openMemory(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if err := m.saveObserved(api.Observed{ID: cluster.AllocationID(fmt.Sprint("a-", i)), Log: []string{strings.Repeat("x", 500)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	aside := 0
	for at := 0; at < len(whole); at += 4096 {
		broken := bytes.Clone(whole)
		for i := range broken[at : at+64] {
			broken[at+i] = byte(0xa5 + i)
		}
		if err := os.WriteFile(path, broken, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := openMemory(dir)
		if err != nil {
			t.Fatalf("page %d: %v", at/4096, err)
		}
		if _, err := m.observed(); err != nil {
			t.Errorf("page %d: %v", at/4096, err)
		}
		if err := m.close(); err != nil {
			t.Error(err)
		}
		if os.Remove(path+".broken") == nil {
			aside++
		}
	}
	if aside < 5 {
		t.Errorf("%d damaged files were put aside", aside)
	}
}
