package cluster

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

var (
	tokenIDRE    = regexp.MustCompile(`^[0-9a-f]{12}$`)
	repositoryRE = regexp.MustCompile(`^[a-z0-9]+([._/-][a-z0-9]+)*$`)
	digestRE     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	commitRE     = regexp.MustCompile(`^[0-9a-f]{7,64}$`)
)

const (
	// MinMemoryBytes is the least that a container engine accepts as a limit.
	MinMemoryBytes = 6 << 20
	// maxMemoryBytes and maxCPUMilli keep sums of reservations far from overflow.
	maxMemoryBytes = 1 << 46
	maxCPUMilli    = 1 << 24
	// maxWait bounds every duration that a user can set.
	maxWait = 24 * time.Hour
	// maxFileKey bounds the keys of the certificate storage.
	maxFileKey = 512
	// maxLine bounds what a person gives a name or a description.
	maxLine = 200
)

// Validate reports why id cannot be a cluster's identity.
func (id ClusterID) Validate() error {
	if !nodeIDRE.MatchString(string(id)) {
		return Invalid("cluster_id", "cluster ID %s is not valid", quote(string(id))).Because("an ID is 16 lower-case hex digits")
	}
	return nil
}

// Validate reports why id cannot be a token's public half.
func (id TokenID) Validate() error {
	if !tokenIDRE.MatchString(string(id)) {
		return Invalid("token_id", "token ID %s is not valid", quote(string(id))).
			Because("an ID is 12 lower-case hex digits").WithHint("list them with: paas token list")
	}
	return nil
}

// Reserved reports whether n would shadow a host name of the product's own.
func (n AppName) Reserved() bool { return reservedApps[n] }

// ValidateDomain reports why h cannot be the domain that apps live under. Unlike
// a routed host name it may be a single label, "localhost" first of all.
func ValidateDomain(h Hostname) error {
	if len(h) > 253-41 {
		return Invalid("domain", "domain %s is too long", quote(string(h))).Because("an app's name and a dot must fit before it")
	}
	if err := ("app." + h).Validate(); err != nil {
		return Invalid("domain", "domain %s is not valid", quote(string(h))).WithHint("a domain looks like apps.example.com")
	}
	return nil
}

// Validate reports why i cannot be run: only bytes named by digest can.
func (i Image) Validate() error {
	if len(i.Repository) > 200 || !repositoryRE.MatchString(i.Repository) {
		return Invalid("image", "image repository %s is not valid", quote(i.Repository))
	}
	if !digestRE.MatchString(i.Digest) {
		return Invalid("image", "image digest %s is not valid", quote(i.Digest)).Because("a digest is sha256: and 64 hex digits")
	}
	if i.SizeBytes < 0 {
		return Invalid("image", "an image cannot have %d bytes", i.SizeBytes)
	}
	return nil
}

// MaxProcessTypes bounds the process types of a release, each of which the
// scheduler looks at in every pass. Real apps have fewer than ten.
const MaxProcessTypes = 50

// ValidateProcesses reports why m cannot be a release's process table.
func ValidateProcesses(m map[ProcessType]Process) error {
	if len(m) == 0 {
		return Invalid("processes", "the release has no process").WithHint("name one in a Procfile: web: ./server")
	}
	if len(m) > MaxProcessTypes {
		return Invalid("processes", "the release has %d process types", len(m)).Because("the limit is %d", MaxProcessTypes)
	}
	for _, t := range slices.Sorted(maps.Keys(m)) {
		if err := t.Validate(); err != nil {
			return err
		}
		if err := m[t].validate(t); err != nil {
			return err
		}
	}
	return nil
}

// validate names t in its errors.
func (p Process) validate(t ProcessType) error {
	bad := func(format string, args ...any) error {
		return Invalid("process", "process %s is not valid", t).Because(format, args...)
	}
	switch {
	case p.Port < 0 || p.Port > 65535:
		return bad("port %d is not between 0 and 65535", p.Port)
	case p.MemoryBytes < MinMemoryBytes || p.MemoryBytes > maxMemoryBytes:
		return bad("memory of %d bytes is not between 6 MiB and 64 TiB", p.MemoryBytes)
	case p.CPUMilli < 0 || p.CPUMilli > maxCPUMilli:
		return bad("%d thousandths of a CPU are not between 0 and %d", p.CPUMilli, maxCPUMilli)
	case p.StopGrace < 0 || p.StopGrace > maxWait:
		return bad("stop grace %s is not between 0 and %s", p.StopGrace, maxWait)
	}
	if len(p.Constraints) > MaxConstraints {
		return bad("it has %d constraints, the limit is %d", len(p.Constraints), MaxConstraints)
	}
	for _, c := range p.Constraints {
		if err := c.Validate(); err != nil {
			return bad("constraint %s: %s", quote(c.String()), err)
		}
	}
	for _, arg := range p.Command {
		if strings.ContainsRune(arg, 0) {
			return bad("its command holds a NUL byte")
		}
	}
	return p.Check.validate(p.Port, bad)
}

func (c Check) validate(port int, bad func(string, ...any) error) error {
	switch {
	case int(c.Kind) >= len(checkKindNames):
		return bad("its check is of an unknown kind")
	case c.Kind != CheckNone && port == 0:
		return bad("its %s check needs a port", c.Kind)
	case c.Kind == CheckHTTP && !validPath(c.Path):
		return bad("check path %s does not start with / or holds spaces", quote(c.Path))
	case c.Kind != CheckHTTP && c.Path != "":
		return bad("only an http check has a path")
	case c.Failures < 0:
		return bad("a check cannot fail %d times in a row", c.Failures)
	}
	for _, d := range []time.Duration{c.Boot, c.Interval, c.Timeout} {
		if d < 0 || d > maxWait {
			return bad("check time %s is not between 0 and %s", d, maxWait)
		}
	}
	return nil
}

// ValidateCheckPath reports why s cannot be what an http check asks for.
func ValidateCheckPath(s string) error {
	if !validPath(s) {
		return Invalid("check_path", "check path %s is not valid", quote(s)).
			Because("a path starts with / and holds up to 2048 bytes, no spaces and no control characters")
	}
	return nil
}

func validPath(s string) bool {
	return strings.HasPrefix(s, "/") && len(s) <= 2048 &&
		!strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError })
}

// Validate reports why r is no way to roll out.
func (r Rollout) Validate() error {
	if r.Surge < 0 || r.Surge > MaxReplicas {
		return Invalid("rollout", "surge %d is not between 0 and %d", r.Surge, MaxReplicas)
	}
	for _, d := range []time.Duration{r.MinHealthy, r.Deadline, r.Drain} {
		if d < 0 || d > maxWait {
			return Invalid("rollout", "rollout time %s is not between 0 and %s", d, maxWait)
		}
	}
	return nil
}

// Validate reports why n cannot join.
func (n *Node) Validate() error {
	if err := n.ID.Validate(); err != nil {
		return err
	}
	if err := ValidateLine("node name", n.Name); err != nil {
		return err
	}
	if err := ValidateLabel("zone", n.Zone); err != nil {
		return err
	}
	if err := ValidateLabels(n.Labels); err != nil {
		return err
	}
	if n.MemoryBytes < 0 || n.MemoryBytes > maxMemoryBytes || n.CPUMilli < 0 || n.CPUMilli > maxCPUMilli {
		return Invalid("node", "node %s reports an impossible size", quote(n.Name))
	}
	return nil
}

// Validate reports why t cannot be kept as a token.
func (t *Token) Validate() error {
	if err := t.ID.Validate(); err != nil {
		return err
	}
	if err := ValidateLine("token name", t.Name); err != nil {
		return err
	}
	if len(t.Hash) != 32 {
		return Invalid("token", "token %s has no hash", t.ID)
	}
	if t.Scope <= ScopeNone || t.Scope >= scopesEnd {
		return Invalid("scope", "scope %s is not known", t.Scope).Because("known: %v", scopeNames[1:])
	}
	for _, app := range t.Apps {
		if err := app.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// ValidateLine reports why s cannot be a name or description: one line of 1 to
// 200 bytes of printable text.
func ValidateLine(field, s string) error {
	if s == "" || len(s) > maxLine || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return Invalid(strings.ReplaceAll(field, " ", "_"), "%s %s is not valid", field, quote(s)).
			Because("it is one line of 1 to %d printable characters", maxLine)
	}
	return nil
}

// ValidateCommit reports why s cannot be a commit's hash; "" means none.
func ValidateCommit(s string) error {
	if s != "" && !commitRE.MatchString(s) {
		return Invalid("commit", "commit %s is not valid", quote(s)).Because("a hash is 7 to 64 lower-case hex digits")
	}
	return nil
}

// ValidateFileKey reports why key cannot name an entry of the certificate
// storage. Keys look like paths but never leave their root.
func ValidateFileKey(key string) error {
	ok := key != "" && len(key) <= maxFileKey && utf8.ValidString(key) &&
		!strings.ContainsFunc(key, func(r rune) bool { return !unicode.IsPrint(r) || r == '\\' })
	for part := range strings.SplitSeq(key, "/") {
		ok = ok && part != "" && part != "." && part != ".."
	}
	if !ok {
		return Invalid("file_key", "file key %s is not valid", quote(key))
	}
	return nil
}
