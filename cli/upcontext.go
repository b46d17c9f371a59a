package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"paas/cluster"
	"paas/identity"
)

// A context that "up" makes belongs to one data directory: two clusters of one
// host never share a name, and starting one takes nothing from the other.

// access is what the next "up" makes a context of while the cluster runs, when the
// one of before was removed or is in somebody else's home. It is kept in the data
// directory, sealed with the cluster's key, which lies beside it: no token is to be
// found there in plain text.
type access struct {
	Token string `json:"token"`
	CA    string `json:"ca"`
}

// sealedAccess is up.access.
type sealedAccess struct {
	Key string `json:"key"`
	Box []byte `json:"box"`
}

const accessPurpose = "up's access"

func accessFile(dir string) string { return filepath.Join(dir, "up.access") }

func accessSealer(dir string) (*identity.Sealer, error) {
	key, err := identity.LoadOrCreateSealKey(filepath.Join(dir, "seal.key"))
	if err != nil {
		return nil, err
	}
	return identity.NewSealer(key)
}

func (a access) write(dir string) error {
	sealer, err := accessSealer(dir)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode up's access: %w", err)
	}
	sec, err := sealer.Seal(plain, accessPurpose)
	if err != nil {
		return err
	}
	text, err := json.Marshal(sealedAccess{sec.Key, sec.Box})
	if err != nil {
		return fmt.Errorf("encode up's access: %w", err)
	}
	return replaceFile(accessFile(dir), text, 0o600)
}

// readAccess returns what write kept. An absent file is fs.ErrNotExist.
func readAccess(dir string) (a access, err error) {
	text, err := os.ReadFile(accessFile(dir))
	if err != nil {
		return a, err
	}
	var sec sealedAccess
	if err := json.Unmarshal(text, &sec); err != nil {
		return a, fmt.Errorf("read %s: %w", accessFile(dir), err)
	}
	sealer, err := accessSealer(dir)
	if err != nil {
		return a, err
	}
	plain, err := sealer.Open(cluster.Secret{Key: sec.Key, Box: sec.Box}, accessPurpose)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(plain, &a)
}

// claim writes the context of the data directory t.data and makes it the current
// one. It has the name that the directory's context had before, else the first of
// dev, dev-2, … that is nobody else's; t.name is it. before is the context that was
// the current one until now, "" if there was none.
func (s settings) claim(t *target) (before string, err error) {
	err = s.change(func(f *contextFile, c *credentialFile) error {
		t.name = s.nameOf(f, t.data, t.ca)
		if _, there := f.Context[f.Current]; there && f.Current != t.name {
			before = f.Current
		}
		f.Context[t.name] = t.record()
		c.Context[t.name] = credential{Token: t.token.Reveal()}
		f.Current = t.name
		return s.writeAuthority(t.name, t.ca)
	})
	return before, err
}

// nameOf is the name for the context of a data directory. A context whose
// directory is gone has left its name to others.
func (s settings) nameOf(f *contextFile, dir, authority string) string {
	for _, name := range sortedKeys(f.Context) {
		if f.Context[name].Data == dir {
			return name
		}
	}
	for n := 1; ; n++ {
		name := devContext
		if n > 1 {
			name += "-" + strconv.Itoa(n)
		}
		r, taken := f.Context[name]
		if !taken || r.Data != "" && !keepsData(r.Data) {
			return name
		}
		if pem, err := os.ReadFile(s.caFile(name)); err == nil && r.Data == "" && string(pem) == authority {
			return name // of before contexts knew their directories
		}
	}
}

// tokenOf returns the first token of the context of t.data, and of the directory
// itself, that is an admin's of t; "" if there is none.
func (s settings) tokenOf(ctx context.Context, t *target) cluster.Redacted {
	kept, err := readAccess(t.data) // without it there may still be a context
	if err == nil && t.ca == "" {
		t.ca = kept.CA
	}
	var tokens []cluster.Redacted
	if f, err := s.contexts(); err == nil {
		if old, err := s.lookup(s.nameOf(&f, t.data, t.ca)); err == nil && (t.ca == "" || old.ca == t.ca) {
			tokens, t.ca = append(tokens, old.token), old.ca
		}
	}
	for _, token := range append(tokens, cluster.Redacted(kept.Token)) {
		try := *t
		try.token = token
		client, err := try.client()
		if token == "" || err != nil {
			continue
		}
		if who, err := client.Whoami(ctx); err == nil && who.Scope == cluster.ScopeAdmin {
			return token
		}
	}
	return ""
}

// writeContext makes the running server the current context. A token that still
// works is kept.
func (h *host) writeContext(ctx context.Context, files settings, r *upRecord) error {
	t := &target{server: "https://" + r.Listen, ca: h.server.CAPEM(), data: r.Data}
	if t.token = files.tokenOf(ctx, t); t.token == "" {
		token, err := h.server.NewAdminToken(ctx, tokenName(os.Getenv))
		if err != nil {
			return err
		}
		t.token = cluster.Redacted(token)
	}
	if err := (access{t.token.Reveal(), t.ca}).write(r.Data); err != nil {
		return err
	}
	before, err := files.claim(t)
	r.Context, r.Before = t.name, before
	return err
}

// renewContext writes the context of a cluster that runs already: it may have been
// removed, or never have been in this home.
func (in *invocation) renewContext(ctx context.Context, dir string, r *upRecord) error {
	files, err := home(in.env)
	if err != nil {
		return err
	}
	t := &target{server: "https://" + r.Listen, data: dir}
	if t.token = files.tokenOf(ctx, t); t.token == "" {
		return cluster.Errorf(cluster.KindUnauthenticated, "context", "paas runs in %s, but no context was written for it", dir).
			Because("no admin token of it is known here").
			WithHint("start it again, which makes one: paas down" + dataFlag(in, dir) + " && paas up --detach" + dataFlag(in, dir))
	}
	r.Before, err = files.claim(t)
	r.Context, r.Notes = t.name, nil
	return err
}

// dropContext forgets the contexts of a purged data directory, and returns their
// names and the one that is the current one now.
func dropContext(env func(string) string, dir string) (gone []string, current string, err error) {
	files, err := home(env)
	if err != nil {
		return nil, "", err
	}
	f, err := files.contexts()
	if err != nil {
		return nil, "", err
	}
	for _, name := range sortedKeys(f.Context) {
		if f.Context[name].Data != dir {
			continue
		}
		if err := files.drop(name); err != nil {
			return gone, "", err
		}
		gone = append(gone, name)
	}
	f, err = files.contexts()
	return gone, f.Current, err
}

// fallback is the current context after the one before is gone: the only one that
// is left, or the only one whose cluster runs on this host. Else it is left to the
// person: the next command must not go to a cluster by chance.
func fallback(f *contextFile) string {
	if len(f.Context) == 1 {
		return slices.Collect(maps.Keys(f.Context))[0]
	}
	running := ""
	for name, c := range f.Context {
		if c.Data == "" {
			continue
		}
		if r, err := readRecord(c.Data); err == nil && r.alive() {
			if running != "" {
				return ""
			}
			running = name
		}
	}
	return running
}

// holder names who listens on addr: a cluster of this host, or a program.
func (in *invocation) holder(addr string) string {
	if files, err := home(in.env); err == nil {
		f, err := files.contexts()
		for _, name := range sortedKeys(f.Context) {
			dir := f.Context[name].Data
			if err != nil || dir == "" {
				continue
			}
			if r, err := readRecord(dir); err == nil && r.alive() && slices.Contains([]string{r.HTTP, r.HTTPS, r.Listen}, addr) {
				return fmt.Sprintf("the paas of context %q (%s)", name, tilde(dir, in.env("HOME")))
			}
		}
	}
	return addressOwner(addr)
}

// keepsData reports whether dir holds a state, or may: what cannot be looked at
// counts as held.
func keepsData(dir string) bool {
	_, err := os.Stat(dir)
	return isData(dir) || err != nil && !errors.Is(err, fs.ErrNotExist)
}

// tellRunning names the clusters of this host that do run, and how to stop them.
func (in *invocation) tellRunning() {
	files, err := home(in.env)
	if err != nil {
		return
	}
	f, err := files.contexts()
	if err != nil {
		return
	}
	for _, name := range sortedKeys(f.Context) {
		dir := f.Context[name].Data
		if r, err := readRecord(dir); err == nil && dir != "" && r.alive() {
			in.out.notef("The cluster of context %s runs; stop it: paas down%s\n", name, dataFlag(in, dir))
		}
	}
}
