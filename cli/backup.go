package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"paas/cluster"
	"paas/server"
)

func backupVerb() *verb {
	passphrase := &cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` whose first line is the passphrase; - is stdin (PAAS_BACKUP_PASSPHRASE)"}
	return &verb{name: "backup", group: groupOperate, summary: "save the cluster's state, encrypted, and bring it back",
		examples: []string{"paas backup create state.backup", "paas backup restore state.backup --data /var/lib/paas"},
		verbs: []*verb{
			{name: "verify", summary: "read a whole backup and say what it holds", args: "FILE", takes: one, run: verifyBackup, flags: []cli.Flag{passphrase},
				about:    "It needs no server: nothing is changed, and what a restore would read is read.",
				examples: []string{"paas backup verify state.backup --passphrase-file pass.txt"}},
			{name: "create", summary: "write an encrypted backup of the state", args: "[FILE]", takes: upToOne, needs: needsServer, run: createBackup, flags: []cli.Flag{passphrase},
				about:    "It holds apps, releases, config, certificates and the keys to them, but no images and\nno data of volumes. FILE - is stdout. Whoever restores it needs the passphrase.",
				examples: []string{"paas backup create state.backup --passphrase-file pass.txt"}},
			{name: "restore", summary: "fill a new server's data directory from a backup", args: "FILE", takes: one, run: restoreBackup,
				flags: []cli.Flag{passphrase, &cli.StringFlag{Name: "data", Usage: "data `DIR` of the new server; it must be empty"}},
				about: "It runs on the server's host, without a server. Start the server with the same directory then.\n" +
					"It is the same cluster: on the host of the first one, that has to be stopped before.",
				examples: []string{"paas backup restore state.backup --data /var/lib/paas"}},
		}}
}

func createBackup(ctx context.Context, in *invocation) error {
	name := in.arg(0)
	if name == "" {
		name = "paas-" + time.Now().UTC().Format("20060102-150405") + ".backup"
	}
	if name == "-" && in.out.outTTY {
		return cluster.Invalid("file", "a backup is not written to a terminal").WithHint("name a file: paas backup create FILE")
	}
	pass, err := in.passphrase()
	if err != nil {
		return err
	}
	if name == "-" {
		return in.client.Backup(ctx, pass, in.out.out)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return cluster.Conflict("file", "%s is there already", name).WithHint("choose another name: paas backup create FILE")
	}
	if err != nil {
		return cluster.Invalid("file", "%s cannot be written", name).Because("%v", err)
	}
	err = in.client.Backup(ctx, pass, f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name)) // half a backup is none
	}
	info, err := os.Stat(name)
	if err != nil {
		return fmt.Errorf("look at the backup: %w", err)
	}
	return in.print(struct {
		File  string `json:"file"`
		Bytes int64  `json:"bytes"`
	}{name, info.Size()}, func(o *output) { o.done("%s  %d bytes, encrypted", name, info.Size()) })
}

func verifyBackup(_ context.Context, in *invocation) error {
	pass, err := in.passphrase()
	if err != nil {
		return err
	}
	var r io.Reader = in.stdin
	if name := in.arg(0); name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return cluster.NotFound("file", "%s cannot be read", oneLine(name)).Because("%v", err)
		}
		defer f.Close()
		r = f
	}
	h, err := server.VerifyBackup(pass, r)
	if err != nil {
		return err
	}
	return in.print(h, func(o *output) {
		newest := ""
		if !h.NewestEvent.IsZero() {
			newest = ", newest event of " + h.NewestEvent.Local().Format(time.DateTime)
		}
		o.done("whole: cluster %s, %s%s, state at index %d, %d bytes", h.Cluster, counted(h.Apps, "app"), newest, h.Index, h.Bytes)
	})
}

func restoreBackup(_ context.Context, in *invocation) error {
	dir := in.String("data")
	if dir == "" {
		return cluster.Invalid("data", "the data directory is missing").WithHint("name an empty one: --data DIR")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	pass, err := in.passphrase()
	if err != nil {
		return err
	}
	var r io.Reader = in.stdin
	if name := in.arg(0); name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return cluster.NotFound("file", "%s cannot be read", name).Because("%v", err)
		}
		defer f.Close()
		r = f
	}
	if err := server.Restore(dir, pass, r); err != nil {
		return err
	}
	return in.print(struct {
		Data string `json:"data"`
	}{dir}, func(o *output) {
		o.done("%s holds the restored state", dir)
		o.next("paas server --data "+shellWord(dir), "or on loopback, for yourself: paas up --detach --data "+shellWord(dir))
		o.notef("A backup holds no images: until its next push each app says that its image cannot be fetched.\n")
		o.notef("Push each one again: git push paas main, or paas deploy -a APP\n")
		o.notef("Nor does it hold data of volumes: what the hosts have of it is used again.\n")
	})
}

// passphrase comes from a file, the environment or the terminal, never from an
// argument: those are seen by everybody on the host.
func (in *invocation) passphrase() (cluster.Redacted, error) {
	pass, err := in.readPassphrase()
	if err == nil && !utf8.ValidString(pass.Reveal()) { // the server would be told another one, which nobody knows
		return "", cluster.Invalid("passphrase", "the passphrase is not text").Because("it holds bytes that are not UTF-8")
	}
	return pass, err
}

func (in *invocation) readPassphrase() (cluster.Redacted, error) {
	switch file := in.String("passphrase-file"); {
	case file == "-":
		return firstLine(in.stdin)
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return "", cluster.NotFound("file", "%s cannot be read", file).Because("%v", err)
		}
		defer f.Close()
		return firstLine(f)
	case in.env("PAAS_BACKUP_PASSPHRASE") != "":
		return cluster.Redacted(in.env("PAAS_BACKUP_PASSPHRASE")), nil
	case !in.mayAsk():
		return "", cluster.Invalid("passphrase", "the passphrase is missing").Because("there is no terminal to ask on").
			WithHint("give it: --passphrase-file FILE, or set PAAS_BACKUP_PASSPHRASE")
	}
	_, _ = fmt.Fprint(in.out.err, "  Passphrase: ")
	typed, err := term.ReadPassword(int(in.stdin.(*os.File).Fd()))
	_, _ = fmt.Fprintln(in.out.err)
	return cluster.Redacted(typed), err
}

func firstLine(r io.Reader) (cluster.Redacted, error) {
	data, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return "", cluster.Invalid("passphrase", "the passphrase cannot be read").Because("%v", err)
	}
	for i, c := range data {
		if c == '\n' {
			data = data[:i]
			break
		}
	}
	return cluster.Redacted(data), nil
}
