package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"paas/cluster"
)

// mayAsk reports whether there is a person to ask.
func (in *invocation) mayAsk() bool {
	return isTerminal(in.stdin) && in.out.errTTY && !in.Bool("no-input") && in.env("CI") == ""
}

// confirm asks a yes-or-no question; --yes answers it. Without a terminal it
// fails and names the flag.
func (in *invocation) confirm(ctx context.Context, question string) error {
	if in.Bool("yes") {
		return nil
	}
	if !in.mayAsk() {
		return cluster.Invalid("yes", "paas %s needs a yes, and nobody can be asked", in.verb.path()).
			Because("there is no terminal").WithHint("say it with: --yes")
	}
	_, _ = fmt.Fprint(in.out.err, in.out.errStyle.text("  "+question+"  [y/N] "))
	answer, err := in.readLine(ctx)
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return interrupted("nothing was changed", "")
	}
	return nil
}

// confirmName demands a name, typed or with --confirm.
func (in *invocation) confirmName(ctx context.Context, name, warning string) error {
	given := in.String("confirm")
	if given == "" && in.mayAsk() {
		in.out.warnf("%s", warning)
		_, _ = fmt.Fprint(in.out.err, "  Type "+name+" to go on: ")
		var err error
		if given, err = in.readLine(ctx); err != nil {
			return err
		}
	}
	switch given {
	case name:
		return nil
	case "":
		return cluster.Invalid("confirm", "paas %s needs the name again", in.verb.path()).
			Because("%s", warning).WithHint("repeat it: --confirm " + name)
	}
	return cluster.Invalid("confirm", "nothing was changed").Because("the confirmation is not %q", name).
		WithHint("repeat it: --confirm " + name)
}

// readLine reads one line from the terminal, or ends with ctx.
func (in *invocation) readLine(ctx context.Context) (string, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1) // sent once; the reader cannot be cancelled, the program ends with it
	go func() {
		line, err := bufio.NewReader(in.stdin).ReadString('\n')
		got <- answer{strings.TrimSpace(line), err}
	}()
	select {
	case a := <-got:
		if a.err == io.EOF {
			_, _ = io.WriteString(in.out.err, "\n") // nobody typed the end of the line
			a.err = nil
		}
		return a.line, a.err
	case <-ctx.Done():
		_, _ = io.WriteString(in.out.err, "\n")
		return "", interrupted("nothing was changed", "")
	}
}
