package cluster

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

type (
	// ClusterID names one cluster for ever: 16 lower-case hex digits. It is part
	// of every label and name that the product gives to Docker.
	ClusterID string
	// NodeID names a host for ever, whatever its address: 16 lower-case hex digits.
	NodeID string
	// AppName is an app's identity and the first label of its default host name.
	AppName string
	// ProcessType is a line of the Procfile: "web", "worker", "release", …
	ProcessType string
	// BuildID is "b-" and a cluster-wide sequence number.
	BuildID string
	// DeploymentID is "d-" and a cluster-wide sequence number.
	DeploymentID string
	// AllocationID is "a-" and a cluster-wide sequence number. It is never used again.
	AllocationID string
	// VolumeID is "vol-" and a cluster-wide sequence number. It is never used again.
	VolumeID string
	// VolumeName names a volume among those of its app.
	VolumeName string
	// TokenID is the public half of an API token: 12 lower-case hex digits.
	TokenID string
	// Hostname is a lower-case DNS name without a trailing dot.
	Hostname string
)

// ReleaseVersion numbers an app's releases from 1; 0 means "none". It prints as "v7".
type ReleaseVersion int

func (v ReleaseVersion) String() string { return "v" + strconv.Itoa(int(v)) }

// ParseReleaseVersion reads "v7" or "7".
func ParseReleaseVersion(s string) (ReleaseVersion, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "v"))
	if err != nil || n > 1<<30 || !versionRE.MatchString(s) {
		return 0, Invalid("release", "release %s is not a version", quote(s)).WithHint("versions look like v7; list them with: paas releases")
	}
	return ReleaseVersion(n), nil
}

const (
	// ProcessWeb is the process type that the router serves.
	ProcessWeb ProcessType = "web"
	// ProcessRelease runs once before a release is cut over.
	ProcessRelease ProcessType = "release"
)

// AppName: RFC 1123 label, at most 40 so that "NAME.web.100" and a domain still fit.
var (
	appNameRE     = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$`)
	processTypeRE = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	configKeyRE   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	hostLabelRE   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	labelRE       = regexp.MustCompile(`^[a-z0-9]([a-z0-9_.-]{0,61}[a-z0-9])?$`)
	versionRE     = regexp.MustCompile(`^v?[1-9][0-9]{0,9}$`)
	gitPartRE     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	// imageRE is [host[:port]/]path[:tag][@digest] of the distribution reference
	// grammar: only a tag may have upper-case letters.
	imageRE = regexp.MustCompile(`^([a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?/)?` +
		`[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*` +
		`(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	volumeIDRE = regexp.MustCompile(`^vol-[1-9][0-9]{0,19}$`)
	// mountPathRE leaves cleanness to path.Clean.
	mountPathRE = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)
	nodeIDRE    = regexp.MustCompile(`^[0-9a-f]{16}$`)
)

// reservedApps would shadow the product's own host names under the apps' domain.
var reservedApps = map[AppName]bool{"dashboard": true, "git": true, "api": true, "paas": true, "registry": true, "www": true}

// Validate reports why n cannot be an app's name.
func (n AppName) Validate() error {
	if !appNameRE.MatchString(string(n)) {
		return Invalid("app_name", "app name %s is not valid", quote(string(n))).
			Because("a name is 1 to 40 lower-case letters, digits and dashes, starts with a letter and ends with a letter or digit").
			WithHint("try: paas apps create my-app")
	}
	if reservedApps[n] {
		return Invalid("app_name", "app name %s is reserved", quote(string(n))).WithHint("choose another name")
	}
	return nil
}

// Validate reports why t cannot be a process type.
func (t ProcessType) Validate() error {
	if !processTypeRE.MatchString(string(t)) {
		return Invalid("process_type", "process type %s is not valid", quote(string(t))).
			Because("a type is 1 to 63 lower-case letters, digits and dashes, and starts with a letter")
	}
	return nil
}

// Validate reports why h cannot be a routed host name. Wildcards are refused.
func (h Hostname) Validate() error {
	bad := func(why string) error {
		return Invalid("hostname", "host name %s is not valid", quote(string(h))).Because("%s", why).
			WithHint("a host name looks like shop.example.com")
	}
	if len(h) == 0 || len(h) > 253 {
		return bad("it must have 1 to 253 characters")
	}
	if strings.Contains(string(h), "*") {
		return Invalid("hostname", "host name %s is not valid", quote(string(h))).Because("wildcards are not supported").
			WithHint("add each name by itself: paas domains add shop.example.com")
	}
	labels := strings.Split(string(h), ".")
	for _, l := range labels {
		if !hostLabelRE.MatchString(l) {
			return bad("each part is 1 to 63 lower-case letters, digits and dashes")
		}
	}
	if len(labels) < 2 {
		return bad("it needs at least one dot")
	}
	if _, err := strconv.Atoi(labels[len(labels)-1]); err == nil {
		return bad("its last part is a number, so it is an address")
	}
	return nil
}

// ValidateConfigKey reports why key cannot be a config variable's name.
func ValidateConfigKey(key string) error {
	if !configKeyRE.MatchString(key) {
		return Invalid("config_key", "config key %s is not valid", quote(key)).
			Because("a key is letters, digits and underscores, at most 128, and does not start with a digit").
			WithHint("write it like: paas config set LOG_LEVEL=debug")
	}
	if strings.HasPrefix(key, "PAAS_") || key == "PORT" {
		return Invalid("config_key", "config key %s is reserved", quote(key)).Because("the platform sets PORT and PAAS_*").
			WithHint("listen on $PORT, which every web process has already; give a variable of your own another name: paas config set APP_PORT=3000")
	}
	return nil
}

// MaxConfigValueBytes bounds one config value: Linux limits one environment
// string to 128 KiB (MAX_ARG_STRLEN).
const MaxConfigValueBytes = 64 << 10

// ValidateConfigValue reports why value cannot stand in an environment. The
// error never repeats the value.
func ValidateConfigValue(key, value string) error {
	if len(value) > MaxConfigValueBytes {
		return Invalid("config_value", "value of %s is too large", key).Because("it has %d bytes; the limit is %d", len(value), MaxConfigValueBytes).
			WithHint("keep it where the app can fetch it, and set its address")
	}
	if strings.ContainsRune(value, 0) {
		return Invalid("config_value", "value of %s holds a NUL byte", key).Because("no environment can carry one").
			WithHint("encode it, and decode it in the app: base64 < FILE")
	}
	if !utf8.ValidString(value) { // JSON would put another character in its place, and nobody be told
		return Invalid("config_value", "value of %s is not text", key).Because("it holds bytes that are not UTF-8").
			WithHint("encode it, and decode it in the app: base64 < FILE")
	}
	return nil
}

// ValidateLabel reports why s cannot be a zone, label key or label value.
func ValidateLabel(field, s string) error {
	if !labelRE.MatchString(s) {
		return Invalid(field, "%s %s is not valid", field, quote(s)).
			Because("it is 1 to 63 lower-case letters, digits, '.', '_' and '-', and starts and ends with a letter or digit")
	}
	return nil
}

// ValidateImageRef reports why ref cannot name a prebuilt image. It refuses
// leading dashes, spaces and upper-case repositories long before Docker sees them.
func ValidateImageRef(ref string) error {
	if len(ref) > 255 || !imageRE.MatchString(ref) || strings.Contains(ref, "..") {
		return Invalid("image", "image %s is not a valid reference", quote(ref)).
			WithHint("a reference looks like registry.example.com/team/app:1.2 or name@sha256:…")
	}
	return nil
}

// ValidateBranch reports why s cannot be a deploy branch. It is stricter than
// git check-ref-format, and refuses what git could read as an option.
func ValidateBranch(s string) error {
	ok := len(s) <= 200 && !strings.Contains(s, "..")
	for part := range strings.SplitSeq(s, "/") {
		ok = ok && gitPartRE.MatchString(part) && !strings.HasSuffix(part, ".lock") && !strings.HasSuffix(part, ".")
	}
	if !ok {
		return Invalid("branch", "branch %s is not valid", quote(s)).WithHint("a branch looks like main or release/2.0")
	}
	return nil
}

// Validate reports why id is no node's identity.
func (id NodeID) Validate() error {
	if !nodeIDRE.MatchString(string(id)) {
		return Invalid("node_id", "node ID %s is not valid", quote(string(id))).Because("an ID is 16 lower-case hex digits")
	}
	return nil
}

// quote shows s to people: quoted, without control characters, at most 60 characters.
func quote(s string) string {
	if len(s) > 60 {
		s = s[:57] + "…"
	}
	return fmt.Sprintf("%q", s)
}

// Network is the name of the cluster's bridge network in each host's container
// engine. Agents make it, before anything is on it.
func (id ClusterID) Network() string { return "paas-" + string(id[:min(8, len(id))]) }
