package cli

import (
	"net/url"
	"strings"
	"testing"
)

// The words of the login that a server's console prints, and what git asks its
// helper: there is nothing else by which a machine joins another.

func FuzzServerURL(f *testing.F) {
	for _, s := range []string{"paas.example.com", "https://192.0.2.10:7443", "http://[::1]:80", "https://a@b", "https://x/../y?z#q", "ext::sh", "https://a b", "//x", "https://[fe80::1%25eth0]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := serverURL(text)
		if err != nil {
			if exitCode(err) != exitUsage {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
			t.Fatalf("%q was read as %#v", text, u)
		}
		if again, err := url.Parse(u.String()); err != nil || again.Hostname() != u.Hostname() {
			t.Fatalf("%q is %q, which is another host: %v %v", text, u, again, err)
		}
	})
}

func FuzzParseFingerprint(f *testing.F) {
	f.Add("sha256:" + strings.Repeat("ab", 32))
	f.Add(strings.Repeat("AB:", 31) + "AB")
	f.Add("sha256:")
	f.Fuzz(func(t *testing.T, text string) {
		digits, err := parseFingerprint(text)
		if err == nil && text != "" && (len(digits) != 64 || strings.Trim(digits, "0123456789abcdef") != "") {
			t.Fatalf("%q was read as %q", text, digits)
		}
	})
}

func FuzzReadCredential(f *testing.F) {
	f.Add("protocol=https\nhost=127.0.0.1:7443\n\n")
	f.Add("capability[]=a\ncapability[]=b\n")
	f.Add("host=a\nhost=b\n")
	f.Fuzz(func(t *testing.T, text string) {
		asked, err := readCredential(strings.NewReader(text))
		if err == nil && strings.Count("\n"+text, "\nhost=") > 1 && !strings.Contains(text, "\n\n") && !strings.HasPrefix(text, "\n") && !strings.Contains(text, "\r") {
			t.Fatalf("%q names two hosts and was read as %q", text, asked)
		}
	})
}
