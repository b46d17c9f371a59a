//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestClusterDocument runs the commands of docs/cluster.md, one after the other.
func TestClusterDocument(t *testing.T) {
	newTourist(t).follow(document(t, filepath.Join("docs", "cluster.md")), 12)
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tourist runs a document's commands: as root of a host behind "h1# ", at the console
// behind "$ ". Without a prompt the command itself says where.
type tourist struct {
	*fleet
	dir   string              // of the console
	first map[string][]string // the command line that a host was started with
	off   []string            // hosts without power
}

// step is one command of a document, and what it shows of the output.
type step struct{ prompt, line, shown string }

func newTourist(t *testing.T) *tourist {
	t.Helper()
	f := placeFleet(t, plan{kind: "tour", servers: 3, agents: 1})
	return &tourist{fleet: f, dir: t.TempDir(), first: map[string][]string{}}
}

var (
	promptLine = regexp.MustCompile(`^    (h\d# |\$ )(.*)$`)
	bareLine   = regexp.MustCompile(`^    (paas .*)$`)
)

// steps are the commands of a document. In one with prompts only lines behind them
// are commands.
func steps(text string) (all []step) {
	prompts := strings.Contains(text, "\n    $ ")
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		found := promptLine.FindStringSubmatch(line)
		if bare := bareLine.FindStringSubmatch(line); !prompts && bare != nil {
			found = []string{"", "", bare[1]}
		}
		switch {
		case found != nil:
			all = append(all, step{prompt: strings.TrimRight(found[1], "# "), line: found[2]})
		case len(all) > 0 && strings.HasPrefix(line, "    "):
			all[len(all)-1].shown += line + "\n"
		}
	}
	return all
}

// follow runs every command of text, at least so many.
func (f *tourist) follow(text string, least int) {
	f.t.Helper()
	all := steps(text)
	if len(all) < least {
		f.t.Fatalf("only %d commands were found, want %d: %q", len(all), least, all)
	}
	for _, s := range all {
		began := time.Now()
		f.take(s)
		f.t.Logf("%s %s  %v", s.prompt, s.line, time.Since(began).Round(time.Millisecond))
	}
}

// take runs one command. Whatever it does not know is for the console, so that none
// is left out.
func (f *tourist) take(s step) {
	f.t.Helper()
	s.line = strings.ReplaceAll(s.line, "10.0.0.", "10.77.0.")
	words := strings.Fields(strings.ReplaceAll(s.line, "'", ""))
	switch {
	case words[0] == "poweroff":
		f.member(s.prompt).powerOff()
		f.off = append(f.off, s.prompt)
	case words[0] == "curl":
		f.ask(words[len(words)-1], s.shown)
	case strings.HasPrefix(s.line, "paas server ") || strings.HasPrefix(s.line, "paas agent "):
		f.begin(words[1:], s.shown)
	case strings.HasPrefix(s.line, "paas cluster recover "):
		f.recover(words[1:])
	default:
		f.console(s)
	}
}

// begin starts a host as a server or an agent, and waits until it is a node.
func (f *tourist) begin(args []string, shown string) {
	f.t.Helper()
	m := f.members[0]
	for i, word := range args {
		switch {
		case word == "--advertise":
			m = f.members[slices.IndexFunc(f.members, func(m *member) bool { return m.addr == args[i+1] })]
		case word == "--join":
			args[i+1] = f.joinString(f.members[0], "--role", args[0])
		case word == "…":
			args = slices.DeleteFunc(slices.Clone(f.first[m.name]), func(w string) bool { return strings.HasPrefix(w, "paas://") || w == "--join" })
		}
	}
	if i := slices.Index(args, "--data"); i > 0 {
		args[i+1] = m.data()
	}
	again := f.first[m.name] != nil
	f.first[m.name], m.role = args, args[0]
	m.launch(args)
	if m == f.members[0] && !again {
		f.login()
	}
	f.await(m.name+" is up", 30*time.Second, func() string {
		list, err := f.nodes()
		if i := slices.IndexFunc(list, func(n nodeLine) bool { return n.Name == m.name && n.State == "up" }); err != nil || i < 0 {
			return fmt.Sprintf("%v %v\n%s", err, list, tail(m.said(), 5))
		}
		return missing(shown, m.said())
	})
}

// recover does what the document says around it: all servers but the first are lost.
func (f *tourist) recover(args []string) {
	f.t.Helper()
	for _, m := range f.servers()[1:] {
		m.powerOff()
	}
	m := f.members[0]
	m.end(syscall.SIGTERM)
	args[slices.Index(args, "--data")+1] = m.data()
	f.bed.must(f.t, append(append([]string{"exec", m.index, f.bin}, args...), "--yes")...)
}

// ask requests a page through the first host's router.
func (f *tourist) ask(url, shown string) {
	f.t.Helper()
	entry := f.through(f.members[0])
	f.await(url+" answers", 10*time.Second, func() string {
		status, body := entry.get(url)
		if status != 200 {
			return fmt.Sprintf("%d %s", status, body)
		}
		return missing(shown, body)
	})
}

// console runs a line in a shell, again for a while if that may be done and does not
// show yet what the document does.
func (f *tourist) console(s step) {
	f.t.Helper()
	line := s.line
	if strings.HasPrefix(line, "paas nodes remove ") {
		line += " --yes"
	}
	if strings.HasSuffix(line, " ID") {
		line = strings.TrimSuffix(line, "ID") + f.unusedJoin()
	}
	run := func() string {
		path := "PATH=" + filepath.Dir(f.bin) + ":" + os.Getenv("PATH")
		out, errs, code := f.run(f.dir, "", "env", path, "bash", "-eo", "pipefail", "-c", line)
		if code != 0 {
			return fmt.Sprintf("exit %d\n%s%s", code, out, errs)
		}
		for replica := range strings.Lines(out) {
			if strings.Contains(replica, "healthy") && slices.ContainsFunc(f.off, func(name string) bool { return strings.Contains(replica, name) }) {
				return "a host without power has a healthy replica:\n" + out
			}
		}
		return missing(s.shown, out+errs)
	}
	// A push fails, once, when another server comes to lead meanwhile.
	look := regexp.MustCompile(`^(paas (nodes|ps|cluster status|join list)|git push .*)$`)
	if look.MatchString(line) {
		f.await(line, 90*time.Second, run)
	} else if said := run(); said != "" {
		f.t.Fatalf("%s: %s", line, said)
	}
	if to := regexp.MustCompile(`(?:^|&& )cd (\w+)`).FindStringSubmatch(line); to != nil {
		f.dir = filepath.Join(f.dir, to[1])
	}
}

// unusedJoin is the ID of a join string that nobody has used.
func (f *tourist) unusedJoin() string {
	f.t.Helper()
	var list []struct {
		ID   string `json:"id"`
		Node string `json:"node"`
	}
	f.into(&list, f.home, "join", "list")
	for _, j := range list {
		if j.Node == "" {
			return j.ID
		}
	}
	f.t.Fatalf("no join string is unused: %v", list)
	return ""
}

// missing says which words of what a document shows were not said as often: those in
// small letters. Names, times, sizes, headings (which only terminals get) and what an
// ellipsis stands for may differ.
func missing(shown, said string) string {
	want, got := smallWords(shown), smallWords(said)
	for word, n := range want {
		if got[word] < n {
			return fmt.Sprintf("%q is shown %d times, and %d times in:\n%s", word, n, got[word], said)
		}
	}
	return ""
}

func smallWords(text string) map[string]int {
	n := map[string]int{}
	for _, word := range strings.Fields(text) {
		if word = strings.Trim(word, ".,;:()"); regexp.MustCompile(`^[a-z]{3,}$`).MatchString(word) {
			n[word]++
		}
	}
	return n
}
