package identity

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"paas/cluster"
)

func TestTokenRoundTrips(t *testing.T) {
	text, id, hash := NewToken()
	got, secret, err := ParseToken(text)
	if err != nil || got != id {
		t.Fatalf("parsed %s, %v, want %s", got, err, id)
	}
	if err := id.Validate(); err != nil {
		t.Error(err)
	}
	if !TokenMatches(&cluster.Token{Hash: hash}, secret) {
		t.Error("the token does not match its own hash")
	}
	_, _, other := NewToken()
	for name, tok := range map[string]*cluster.Token{"other": {Hash: other}, "none": {}, "nil": nil, "short": {Hash: hash[:31]}} {
		if TokenMatches(tok, secret) {
			t.Errorf("%s: matches", name)
		}
	}
	if bytes.Contains(hash, []byte(secret)) {
		t.Error("the hash holds the secret")
	}
}

func TestSomethingElseIsNoToken(t *testing.T) {
	good, _, _ := NewToken()
	for _, text := range []string{"", "paas_", good + "x", good[:len(good)-1], strings.ToUpper(good), " " + good, good + "\n", strings.Replace(good, "paas", "heroku", 1)} {
		_, _, err := ParseToken(text)
		if cluster.KindOf(err) != cluster.KindUnauthenticated {
			t.Errorf("%d bytes: got %v, want KindUnauthenticated", len(text), err)
		}
		if text != "" && len(text) > 10 && strings.Contains(err.Error(), text[10:]) {
			t.Error("the error shows the token")
		}
	}
}

func FuzzParseToken(f *testing.F) {
	good, _, _ := NewToken()
	f.Add(good)
	f.Add("paas_000000000000_")
	f.Fuzz(func(t *testing.T, text string) {
		id, secret, err := ParseToken(text)
		if err == nil && (id.Validate() != nil || "paas_"+string(id)+"_"+secret != text) {
			t.Errorf("%q parsed as %q and %q", text, id, secret)
		}
	})
}

func TestNewIDIsANodeID(t *testing.T) {
	a, b := NewID(), NewID()
	if err := cluster.NodeID(a).Validate(); err != nil || a == b {
		t.Errorf("%s and %s: %v", a, b, err)
	}
}

func TestSealedSecretOpensForItsPurposeOnly(t *testing.T) {
	s, err := NewSealer(NewSealKey())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(rt, "plain")
		sec, err := s.Seal(plain, "config/blog/KEY")
		if err != nil {
			rt.Fatal(err)
		}
		got, err := s.Open(sec, "config/blog/KEY")
		if err != nil || !bytes.Equal(got, plain) {
			rt.Fatalf("opened %x, %v", got, err)
		}
		if _, err := s.Open(sec, "config/shop/KEY"); err == nil {
			rt.Fatal("opened for another purpose")
		}
		sec.Box[rapid.IntRange(0, len(sec.Box)-1).Draw(rt, "byte")] ^= 1
		if _, err := s.Open(sec, "config/blog/KEY"); err == nil {
			rt.Fatal("opened a changed box")
		}
	})
	other, err := NewSealer(NewSealKey())
	if err != nil {
		t.Fatal(err)
	}
	sec, err := s.Seal([]byte("hush"), "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(sec, "p"); err == nil || other.KeyID() == s.KeyID() {
		t.Errorf("another key opened it: %v", err)
	}
	if _, err := s.Open(cluster.Secret{Key: s.KeyID(), Box: []byte("x")}, "p"); err == nil {
		t.Error("a stump opened")
	}
	if _, err := s.Seal(nil, ""); err == nil {
		t.Error("sealed without a purpose")
	}
	if _, err := NewSealer([]byte("short")); err == nil {
		t.Error("a short key was taken")
	}
	again, err := s.Seal([]byte("hush"), "p")
	if err != nil || bytes.Equal(again.Box, sec.Box) {
		t.Errorf("the same value sealed twice gives the same box: %v", err)
	}
}

func TestSealKeyIsCreatedOnceAndNeverReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "seal.key")
	key, err := LoadOrCreateSealKey(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateSealKey(path)
	if err != nil || !bytes.Equal(key, again) {
		t.Errorf("the second call gives another key: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	for _, text := range []string{"", "short", strings.Repeat("z", 64) + "\n", strings.Repeat("a", 65)[:65] + "b"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreateSealKey(path); err == nil {
			t.Errorf("a file of %q was taken for a key", text)
		} else if len(text) > 6 && strings.Contains(err.Error(), text[:6]) {
			t.Error("the error shows the file's content")
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("a damaged key file was replaced: %v", err)
		}
	}
	if _, err := LoadOrCreateSealKey(filepath.Join(path, "below-a-file")); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func encrypt(t testing.TB, plain []byte, pass cluster.Redacted) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := EncryptBackup(&out, pass)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err == nil || w.Close() == nil {
		t.Error("a closed backup took more")
	}
	return out.Bytes()
}

func decrypt(data []byte, pass cluster.Redacted) ([]byte, error) {
	r, err := DecryptBackup(bytes.NewReader(data), pass)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestEncryptedBackupOpensWholeOrNotAtAll(t *testing.T) {
	for _, n := range []int{0, 1, backupChunk - 1, backupChunk, backupChunk + 1, 2 * backupChunk} {
		plain := bytes.Repeat([]byte("secret! "), n/8+1)[:n]
		data := encrypt(t, plain, "correct horse")
		got, err := decrypt(data, "correct horse")
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %d came back, %v", n, len(got), err)
		}
		if n >= 8 && bytes.Contains(data, []byte("secret! ")) {
			t.Errorf("%d bytes: the plaintext shows", n)
		}
	}
	plain := make([]byte, 2*backupChunk+100)
	data := encrypt(t, plain, "pass")
	sealedChunk := backupChunk + 16
	for name, bad := range map[string][]byte{
		"last chunk cut off": data[:backupHeader+2*sealedChunk], "cut inside": data[:backupHeader+sealedChunk+5], "header only": data[:backupHeader],
		"one byte more": append(append([]byte{}, data...), 0), "changed": flip(data, len(data)-1), "salt changed": flip(data, 10), "swapped": swapped(data, sealedChunk),
	} {
		if got, err := decrypt(bad, "pass"); err == nil {
			t.Errorf("%s: %d bytes came back without an error", name, len(got))
		}
	}
}

func flip(data []byte, i int) []byte {
	out := append([]byte{}, data...)
	out[i] ^= 1
	return out
}

// swapped exchanges the first two chunks.
func swapped(data []byte, n int) []byte {
	h := backupHeader
	return join(data[:h], data[h+n:h+2*n], data[h:h+n], data[h+2*n:])
}

func TestBackupErrorsTellPassphraseFromFile(t *testing.T) {
	data := encrypt(t, []byte("state"), "right")
	if _, err := decrypt(data, "wrong"); !errors.Is(err, ErrBackupKey) {
		t.Errorf("wrong passphrase: got %v", err)
	}
	for name, bad := range map[string][]byte{"empty": nil, "other": bytes.Repeat([]byte("x"), 100)} {
		if _, err := decrypt(bad, "right"); cluster.KindOf(err) != cluster.KindInvalid {
			t.Errorf("%s: got %v, want KindInvalid", name, err)
		}
	}
	if _, err := EncryptBackup(io.Discard, ""); cluster.KindOf(err) != cluster.KindInvalid {
		t.Errorf("no passphrase: got %v, want KindInvalid", err)
	}
}

type fullDisk struct{ room int }

func (f *fullDisk) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

func TestBackupThatCannotBeWrittenSaysSo(t *testing.T) {
	if _, err := EncryptBackup(&fullDisk{}, "p"); err == nil {
		t.Error("no error for the header")
	}
	w, err := EncryptBackup(&fullDisk{room: backupHeader}, "p")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err) // still in memory
	}
	if err := w.Close(); err == nil {
		t.Error("no error for the last chunk")
	}
}

func TestFileIsReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for _, text := range []string{"one", "two"} {
		if err := WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "two" {
		t.Errorf("read %q, %v", got, err)
	}
	if err := WriteFile(filepath.Join(dir, "none", "f"), nil); err == nil {
		t.Error("wrote into a directory that is not there")
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(filepath.Join(dir, "d"), []byte("x")); err == nil {
		t.Error("replaced a directory")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("files left: %v, %v", entries, err)
	}
}

func TestNewSecretIsNobodysGuess(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if a == b || !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(a.Reveal()) {
		t.Errorf("%q, %q", a.Reveal(), b.Reveal())
	}
}
