package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/BurntSushi/toml"

	"paas/cluster"
)

// settings are the command line's own files, in PAAS_HOME:
//
//	contexts.toml     which clusters there are, and which is the current one
//	credentials.toml  their tokens, for the owner only
//	ca/NAME.pem       the authority that each one's server must be signed by; ca/NAME.d for git
type settings struct{ dir string }

// contextFile is contexts.toml.
type contextFile struct {
	Current string                   `toml:"current,omitempty"`
	Context map[string]contextRecord `toml:"context"`
}

// contextRecord is one cluster.
type contextRecord struct {
	Server string `toml:"server" json:"server"`
	// Servers are all servers of the cluster, host:port, if it has several: the others
	// are asked when Server cannot be reached.
	Servers []string `toml:"servers,omitempty" json:"servers,omitempty"`
	// Former are those that Server was before: they left the cluster, and git remotes
	// may still lead to them.
	Former []string `toml:"former,omitempty" json:"former,omitempty"`
	// Data is where "paas up" keeps the state of a cluster of this host; "" for others.
	Data string `toml:"data,omitempty" json:"data,omitempty"`
}

// credentialFile is credentials.toml.
type credentialFile struct {
	Context map[string]credential `toml:"context"`
}

type credential struct {
	Token string `toml:"token"`
}

// target is a cluster to talk to.
type target struct {
	name   string // of the context; "" when it comes from the environment
	server string
	others []string // all servers of a cluster that has several, host:port
	former []string // URLs that server was before
	// learned keeps what others are now; nil keeps nothing.
	learned func(servers []string, from string)
	// lastKnown is told that an answer is what one server knew last, as no server leads;
	// nil takes no such answer.
	lastKnown func(why error)
	token     cluster.Redacted
	data      string // of the context; "" if "paas up" did not make it
	caFile    string // "" is the system's roots
	caDir     string // the same for git; "" if it comes from the environment
	ca        string // PEM
}

// record is what contexts.toml keeps of t.
func (t *target) record() contextRecord {
	return contextRecord{Server: t.server, Servers: t.others, Former: t.former, Data: t.data}
}

// label is the target's name for people.
func (t *target) label() string {
	if t.name == "" {
		return t.server + " (PAAS_SERVER)"
	}
	return t.name
}

// home is PAAS_HOME, or its default.
func home(env func(string) string) (settings, error) {
	if dir := env("PAAS_HOME"); dir != "" {
		abs, err := filepath.Abs(dir)
		return settings{abs}, err
	}
	if dir := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return settings{filepath.Join(dir, "paas")}, nil
	}
	dir := env("HOME")
	if dir == "" {
		return settings{}, cluster.Invalid("home", "there is no place for contexts and credentials").
			Because("neither PAAS_HOME nor HOME is set").WithHint("set one: export PAAS_HOME=DIR")
	}
	return settings{filepath.Join(dir, ".config", "paas")}, nil
}

var contextNameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func validContext(name string) error {
	if !contextNameRE.MatchString(name) {
		return cluster.Invalid("context", "context name %q is not valid", name).
			Because("a name is 1 to 63 letters, digits, '.', '_' and '-', and starts with a letter or digit")
	}
	return nil
}

func (s settings) caFile(name string) string { return filepath.Join(s.dir, "ca", name+".pem") }
func (s settings) contextsFile() string      { return filepath.Join(s.dir, "contexts.toml") }
func (s settings) credentialsFile() string   { return filepath.Join(s.dir, "credentials.toml") }

// contexts reads contexts.toml; an absent one is empty.
func (s settings) contexts() (contextFile, error) {
	f := contextFile{Context: map[string]contextRecord{}}
	return f, readTOML(s.contextsFile(), &f)
}

func (s settings) credentials() (credentialFile, error) {
	f := credentialFile{Context: map[string]credential{}}
	return f, readTOML(s.credentialsFile(), &f)
}

func readTOML(path string, v any) error {
	_, err := toml.DecodeFile(path, v)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return cluster.Invalid("context", "%s cannot be read", path).Because("%v", err).WithHint("mend it, or remove it and log in again")
}

// lookup returns the context called name; "" is the current one.
func (s settings) lookup(name string) (*target, error) {
	f, err := s.contexts()
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = f.Current
	}
	if name == "" && len(f.Context) > 0 {
		return nil, noneChosen(sortedKeys(f.Context))
	}
	if name == "" {
		return nil, cluster.Errorf(cluster.KindUnauthenticated, "context", "no cluster is chosen").
			Because("there is no context yet").
			WithHint("start one here: paas up\nor log in to one: paas login https://HOST:7443 --ca-fingerprint … --token …")
	}
	r, ok := f.Context[name]
	if !ok {
		e := cluster.NotFound("context", "no context %q", name)
		if near := cluster.Nearest(name, slices.Sorted(maps.Keys(f.Context))); len(near) > 0 {
			e = e.Because("nearest: %s", near[0])
		}
		return nil, e.WithHint("list them with: paas context")
	}
	c, err := s.credentials()
	if err != nil {
		return nil, err
	}
	t := &target{name: name, server: r.Server, others: r.Servers, former: r.Former, data: r.Data, token: cluster.Redacted(c.Context[name].Token)}
	t.caDir = s.caDir(name)
	t.learned = func(servers []string, from string) { s.remember(t, servers, from) }
	return t, t.pin(s.caFile(name))
}

// noneChosen is for a person who has contexts, none of which is the current one.
func noneChosen(names []string) error {
	var hints []string
	for _, name := range names[:min(len(names), 5)] {
		hints = append(hints, "choose one: paas context use "+name)
	}
	return cluster.Errorf(cluster.KindUnauthenticated, "context", "no cluster is chosen").
		Because("none of the contexts is the current one").WithHint(strings.Join(hints, "\n"))
}

// pin reads the authority's certificate; an absent file leaves the system's roots.
func (t *target) pin(file string) error {
	pem, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the authority of context %s: %w", t.name, err)
	}
	t.caFile, t.ca = file, string(pem)
	return nil
}

// put writes a context with its token and authority; with use it becomes the
// current one.
func (s settings) put(t *target, use choice) error {
	if err := validContext(t.name); err != nil {
		return err
	}
	return s.change(func(f *contextFile, c *credentialFile) error {
		f.Context[t.name] = t.record()
		c.Context[t.name] = credential{Token: t.token.Reveal()}
		if use == makeCurrent || f.Current == "" {
			f.Current = t.name
		}
		return s.writeAuthority(t.name, t.ca)
	})
}

// choice says what becomes of the current context.
type choice uint8

const (
	keepCurrent choice = iota
	makeCurrent
)

// drop forgets a context.
func (s settings) drop(name string) error {
	return s.change(func(f *contextFile, c *credentialFile) error {
		delete(f.Context, name)
		delete(c.Context, name)
		if f.Current == name {
			f.Current = fallback(f)
		}
		return s.dropAuthority(name)
	})
}

// change edits both files while no other process does.
func (s settings) change(edit func(*contextFile, *credentialFile) error) error {
	if err := os.MkdirAll(filepath.Join(s.dir, "ca"), 0o700); err != nil {
		return fmt.Errorf("make %s: %w", s.dir, err)
	}
	lock, err := os.OpenFile(filepath.Join(s.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock contexts: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock contexts: %w", err)
	}
	f, err := s.contexts()
	if err != nil {
		return err
	}
	c, err := s.credentials()
	if err != nil {
		return err
	}
	if err := edit(&f, &c); err != nil {
		return err
	}
	if err := writeTOML(s.credentialsFile(), c, 0o600); err != nil {
		return err
	}
	return writeTOML(s.contextsFile(), f, 0o600)
}

func writeTOML(path string, v any, mode fs.FileMode) error {
	var b bytes.Buffer
	if err := toml.NewEncoder(&b).Encode(v); err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return replaceFile(path, b.Bytes(), mode)
}

// replaceFile writes a file that is whole at any time.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// remove deletes a file if it is there.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
