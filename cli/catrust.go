package cli

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// GIT_SSL_CAINFO in somebody's environment beats the repository's own
// http.sslCAInfo, and corporate networks set it. A directory of authorities is
// asked beside it: GnuTLS reads every file there, OpenSSL the one that is named
// after the hash of its subject.

func (s settings) caDir(name string) string { return filepath.Join(s.dir, "ca", name+".d") }

// writeAuthority keeps a context's authority as a file and as a directory. Whoever
// reads meanwhile finds the one before or this one: without any, a client would
// ask the system's roots.
func (s settings) writeAuthority(name, authority string) error {
	if authority == "" {
		return s.dropAuthority(name)
	}
	if err := replaceFile(s.caFile(name), []byte(authority), 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(s.caDir(name), 0o755); err != nil {
		return fmt.Errorf("keep the authority: %w", err)
	}
	file := "authority.pem"
	if hash, err := subjectHash(authority); err == nil {
		file = hash + ".0" // a form of subject that we cannot hash is still read by GnuTLS
	}
	if err := replaceFile(filepath.Join(s.caDir(name), file), []byte(authority), 0o644); err != nil {
		return err
	}
	return s.dropOthers(name, file)
}

// dropOthers leaves but one file in a context's directory of authorities.
func (s settings) dropOthers(name, keep string) error {
	files, err := os.ReadDir(s.caDir(name))
	for _, f := range files {
		if err == nil && f.Name() != keep {
			err = remove(filepath.Join(s.caDir(name), f.Name()))
		}
	}
	if err != nil {
		return fmt.Errorf("forget the authority before: %w", err)
	}
	return nil
}

// checkGitTrust says whether git asks the target's authority here: its variables
// beat the repository's own configuration, and both together leave nothing of it.
func (in *invocation) checkGitTrust(t *target) finding {
	file, dir := in.env("GIT_SSL_CAINFO") != "", in.env("GIT_SSL_CAPATH") != ""
	switch {
	case t.caFile == "" || !file:
	case t.caDir == "":
		return warning("git trust", "in this shell: unset GIT_SSL_CAINFO", "git push will not trust %s: GIT_SSL_CAINFO is set and beats the repository's own authority", t.server)
	case dir:
		return warning("git trust", "in this shell: unset GIT_SSL_CAPATH", "git push will not trust %s: GIT_SSL_CAINFO and GIT_SSL_CAPATH are set and beat the repository's own authority", t.server)
	}
	return fine("git trust", "git push trusts %s", t.server)
}

func (s settings) dropAuthority(name string) error {
	if err := os.RemoveAll(s.caDir(name)); err != nil {
		return fmt.Errorf("forget the authority: %w", err)
	}
	return remove(s.caFile(name))
}

// subjectHash is OpenSSL's X509_NAME_hash: the first four bytes of the SHA-1 of
// the subject in its canonical form, in which values are UTF-8, lower case and
// single-spaced, and the outer SEQUENCE is left out. It is a file name and
// protects nothing.
func subjectHash(certificate string) (string, error) {
	block, _ := pem.Decode([]byte(certificate))
	if block == nil {
		return "", fmt.Errorf("no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	var names []asn1.RawValue
	if _, err := asn1.Unmarshal(cert.RawSubject, &names); err != nil {
		return "", err
	}
	var canonical bytes.Buffer
	for _, name := range names {
		set, err := canonicalName(name.Bytes)
		if err != nil {
			return "", err
		}
		canonical.Write(set)
	}
	sum := sha1.Sum(canonical.Bytes())
	return fmt.Sprintf("%08x", binary.LittleEndian.Uint32(sum[:4])), nil
}

// canonicalName rewrites one relative name of a single attribute.
func canonicalName(der []byte) ([]byte, error) {
	var attribute struct {
		Type  asn1.ObjectIdentifier
		Value string
	}
	if rest, err := asn1.Unmarshal(der, &attribute); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("subject of an unusual form: %w", err)
	}
	value := strings.ToLower(strings.Join(strings.Fields(attribute.Value), " "))
	inner, err := asn1.Marshal(struct {
		Type  asn1.ObjectIdentifier
		Value string `asn1:"utf8"`
	}{attribute.Type, value})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagSet, IsCompound: true, Bytes: inner})
}
