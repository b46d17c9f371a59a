package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"paas/agent"
	"paas/api"
	"paas/cluster"
	"paas/identity"
)

func joinVerb() *verb {
	return &verb{name: "join", aliases: []string{"joins"}, group: groupOperate, summary: "strings that let hosts join the cluster", needs: needsServer, run: listJoins,
		examples: []string{"paas join create --role agent", "paas join revoke 0123456789ab"},
		verbs: []*verb{
			{name: "create", summary: "create a join string; it is shown once", needs: needsServer, run: createJoin,
				flags: []cli.Flag{
					&cli.StringFlag{Name: "role", Usage: "`ROLE` of the host: server or agent", Value: "agent"},
					&cli.StringFlag{Name: "ttl", Usage: "how `LONG` it is good, at most 7d", Value: "1h"},
				},
				about: "It lets one host in, once. It names servers, says how they are known, and holds a secret:\n" +
					"whoever has it can join. The string alone goes to stdout, so that it can be piped.",
				examples: []string{"paas join create --role server", "paas join create --ttl 1d"}},
			{name: "list", aliases: []string{"ls"}, summary: "list join strings, without their text", needs: needsServer, examples: []string{"paas join list"}, run: listJoins},
			{name: "revoke", aliases: []string{"rm"}, summary: "make a join string good for nothing", args: "ID", takes: one, needs: needsServer,
				examples: []string{"paas join revoke 0123456789ab"}, run: revokeJoin},
		}}
}

func createJoin(ctx context.Context, in *invocation) error {
	ttl, err := parseDays(in.String("ttl"))
	if err != nil {
		return err
	}
	j := api.CreateJoin{TTL: ttl}
	if err := j.Role.UnmarshalText([]byte(in.String("role"))); err != nil || j.Role == identity.RoleNone {
		return cluster.Invalid("role", "role %q is not known", in.String("role")).WithHint("use: server or agent")
	}
	in.header()
	made, err := in.client.CreateJoin(ctx, j)
	if err != nil {
		return err
	}
	if in.out.json {
		return in.out.object(made)
	}
	in.out.notef("Join string %s lets one host in as %s until %s. It is shown only now; on that host:\n%s\n",
		made.ID, joinAs(&made.Join), made.ExpiresAt.Local().Format(time.DateTime), in.out.errStyle.dim("  "+joinCommand(&made.Join, "'…'")))
	_, err = io.WriteString(in.out.out, made.Text+"\n")
	return err
}

// joinAs is the role of the host that joins with j.
func joinAs(j *cluster.Join) string {
	if j.Server {
		return "server"
	}
	return "agent"
}

// joinCommand is what is typed on the host that joins; text is the string, quoted.
func joinCommand(j *cluster.Join, text string) string {
	return "paas " + joinAs(j) + " --data /var/lib/paas --advertise IP --zone ZONE --join " + text
}

func listJoins(ctx context.Context, in *invocation) error {
	list, err := in.client.Joins(ctx)
	if err != nil {
		return err
	}
	return in.print(list, func(o *output) {
		var rows [][]string
		for _, j := range list {
			state := "good"
			switch {
			case j.Used():
				state = "used by " + string(j.Node)
			case !j.ExpiresAt.After(time.Now()):
				state = "expired"
			}
			rows = append(rows, []string{string(j.ID), joinAs(&j), state, j.ExpiresAt.Local().Format(time.DateTime), j.CreatedBy})
		}
		o.table([]string{"ID", "ROLE", "STATE", "UNTIL", "BY"}, rows)
	})
}

func revokeJoin(ctx context.Context, in *invocation) error {
	id := cluster.TokenID(in.arg(0))
	in.header()
	if err := in.client.RevokeJoin(ctx, id); err != nil {
		return err
	}
	return in.print(struct {
		ID cluster.TokenID `json:"id"`
	}{id}, func(o *output) { o.done("join string %s is good for nothing any more; who joined with it stays", id) })
}

// joinFlag is that of the verbs that make a host join.
func joinFlag() cli.Flag {
	return &cli.StringFlag{Name: "join", Usage: "`STRING` of a server (paas join create) that lets this host into its cluster, on first start", EnvVars: []string{"PAAS_JOIN"}}
}

// joinString is --join; nil without it.
func (in *invocation) joinString() (*identity.JoinString, error) {
	if in.String("join") == "" {
		return nil, nil
	}
	j, err := identity.ParseJoinString(in.String("join"))
	if err != nil {
		return nil, err
	}
	return &j, nil
}

// joins reports whether the host with the data directory dir has to join with j. One
// that is in the cluster already stays who it is, so that a unit file may keep the
// flag; one that is in another is left as it is, with an error.
func (in *invocation) joins(j *identity.JoinString, dir string, role identity.Role) (bool, error) {
	if j == nil {
		return false, nil
	}
	n, err := loadNode(dir)
	begun, settled := present(filepath.Join(dir, "join.key")), present(filepath.Join(dir, "cluster.cbor"))
	elsewhere := cluster.Conflict("joined", "this host does not join that cluster").
		WithHint("name an empty directory: --data DIR\nor leave out --join to start what is there")
	switch {
	case begun:
		return true, nil // it goes on where it was cut off
	case errors.Is(err, fs.ErrNotExist) && settled:
		return false, elsewhere.Because("%s holds the state of another one", dir)
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case n.AuthorityFingerprint() != j.Fingerprint:
		return false, elsewhere.Because("with the state in %s it belongs to another one", dir)
	case n.Role != role:
		return false, elsewhere.Because("with the state in %s it is in it already, as %s", dir, n.Role).
			WithHint("start it as what it is: paas " + n.Role.String() + " --data " + shellWord(dir))
	case time.Now().After(n.NotAfter()):
		return false, cluster.Conflict("certificate_expired", "this host cannot come back as who it was").
			Because("its certificate ended at %s, while it was off", n.NotAfter().UTC().Format(time.RFC3339)).
			WithHint("let it join anew, from an empty directory: --data DIR, and remove its old name: paas nodes remove")
	}
	in.out.notef("This host is in the cluster already, as node %s: --join is not needed any more.\nIf it was removed, it joins anew only once its data directory is empty: %s\n", n.ID, oneLine(dir))
	return false, nil
}

// loadNode is who the host with the data directory dir is: fs.ErrNotExist if nobody yet.
func loadNode(dir string) (*identity.Node, error) {
	return identity.LoadNode(filepath.Join(dir, "node"))
}

// agentDir is where the host with the data directory dir keeps what is its agent's.
func agentDir(dir string) string { return filepath.Join(dir, "agent") }

// present reports whether something is at path.
func present(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkJoin refuses what would only be found out when the string is used up: that this
// host cannot work for the cluster of j, or that nobody would reach it at ip.
func checkJoin(j *identity.JoinString, ip netip.Addr) error {
	if err := checkReachable(ip); err != nil {
		return err
	}
	for _, c := range agent.Claims() {
		n, err := loadNode(c.Data)
		if c.Data == "" || err != nil || n.AuthorityFingerprint() != j.Fingerprint {
			continue // another cluster's, as far as one can see
		}
		return cluster.Conflict("cluster_claimed", "this host does not join that cluster again").
			Because("%s works for it here already, as node %s, and a host has one place in a cluster", holder(c), n.ID).
			WithHint("use the join string on another host: it is still good\nor to make this one a new node, drain and remove the old one (paas nodes drain), and " + stopHolder(c))
	}
	return nil
}

// warnElsewhere warns of an address that no interface of this host has: a gateway may
// lead it here, and nobody can see that from here.
func (in *invocation) warnElsewhere(ip netip.Addr) {
	own, err := net.InterfaceAddrs()
	if err != nil || ipAmong(own, ip) {
		return
	}
	in.out.warnf("%s is the address of no network interface of this host: unless a gateway leads it here, no other host reaches this one", ip)
}

// warnNamesake warns of another host in r that has the name of this one, which has just
// joined: a command that names one of them is refused.
func (in *invocation) warnNamesake(r *cluster.Roster, dir string) error {
	n, err := loadNode(dir)
	if err != nil {
		return err
	}
	me, _ := r.Member(n.ID)
	for _, m := range r.Members {
		if m.Name == me.Name && m.ID != me.ID {
			in.out.warnf("another host, %s, is named %s, too: commands need the ID of one of them, and this one's is %s", m.ID, me.Name, me.ID)
		}
	}
	return nil
}

// ipAmong reports whether ip is one of an interface's addresses.
func ipAmong(all []net.Addr, ip netip.Addr) bool {
	return slices.ContainsFunc(all, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr().Unmap() == ip.Unmap()
	})
}

// checkReachable refuses addresses at which no other host reaches this one.
func checkReachable(ip netip.Addr) error {
	why := ""
	switch ip = ip.Unmap(); {
	case ip.IsLoopback():
		why = "it leads every host to itself"
	case ip.IsUnspecified():
		why = "it is no host's"
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		why = "it is that of many hosts"
	case ip.IsLinkLocalUnicast(), ip.Zone() != "":
		why = "it counts on one network only"
	default:
		return nil
	}
	return cluster.Invalid("advertise", "other hosts cannot reach this one at %s", ip).Because("%s", why).
		WithHint("give the address of this host that all others reach: --advertise 192.0.2.20")
}
