package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"paas/api"
	"paas/identity"
)

var (
	// blockLine is a command in a block of a document: behind a prompt, or alone.
	blockLine = regexp.MustCompile(`(?m)^    (?:\$ |h\d# )?((?:.*&& )?paas .*)$`)
	// span is a command in the text.
	span = regexp.MustCompile("`(paas [^`]*)`")
	// topicLine is a command in a topic, before what it does.
	topicLine = regexp.MustCompile(`(?m)^  (paas .*?[^.\s])(?:  .*)?$`)
)

// TestDocumentsNameCommands reads every command of the documents and topics as the
// program would: it exists, with these flags, and in blocks with so many arguments.
func TestDocumentsNameCommands(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	read := 0
	for _, file := range append(files, "../README.md", "../CONTRIBUTING.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		read += namesCommands(t, filepath.Base(file), string(text), blockLine, true)
		namesCommands(t, filepath.Base(file), string(text), span, false)
	}
	if read < 20 {
		t.Errorf("only %d commands were found in blocks", read)
	}
	for name, text := range topics {
		namesCommands(t, "topic "+name, text, topicLine, true)
	}
}

// namesCommands reads what form finds in text, and returns how many commands it was.
func namesCommands(t *testing.T, where, text string, form *regexp.Regexp, whole bool) (n int) {
	t.Helper()
	root := verbs()
	for _, found := range form.FindAllStringSubmatch(text, -1) {
		for _, line := range commandLines(found[1]) {
			n++
			if last := len(line) - 1; last >= 0 && line[last] == "…" {
				line = line[:last] // and so on
			}
			a, err := arrange(root, line)
			if err == nil && whole {
				err = checkArity(a)
			}
			if err != nil || a.stray != "" {
				t.Errorf("%s: paas %s: %v %q", where, strings.Join(line, " "), err, a.stray)
			}
		}
	}
	return n
}

// TestClusterTopicsHaveTheNumbers holds what the help says against the constants.
func TestClusterTopicsHaveTheNumbers(t *testing.T) {
	days := int(identity.NodeLife.Hours() / 24)
	for topic, want := range map[string][]string{
		"limits":  {fmt.Sprintf("  %d s ", int(api.NodeLease.Seconds())), fmt.Sprintf("  %d days ", days), fmt.Sprintf("renewed after %d:", days*2/3)},
		"cluster": {fmt.Sprintf("silent for %d s ", int(api.NodeLease.Seconds()))},
	} {
		for _, text := range want {
			if !strings.Contains(topics[topic], text) {
				t.Errorf("topic %s does not say %q", topic, text)
			}
		}
	}
}
