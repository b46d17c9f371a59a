package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"strings"

	"paas/cluster"
)

const tokenPrefix = "paas_"

var tokenRE = regexp.MustCompile(`^paas_[0-9a-f]{12}_[A-Za-z0-9_-]{43}$`)

// NewToken draws an API token: its text "paas_ID_SECRET", which is shown once,
// its public ID, and the hash that is kept. The secret has 256 random bits, so a
// plain SHA-256 of it cannot be guessed back.
func NewToken() (text string, id cluster.TokenID, hash []byte) {
	id, secret := drawSecret()
	return tokenPrefix + string(id) + "_" + secret, id, hashToken(secret)
}

// drawSecret draws a public ID and a secret of 256 bits.
func drawSecret() (id cluster.TokenID, secret string) {
	public, private := make([]byte, 6), make([]byte, 32)
	_, _ = rand.Read(public)  // never fails: crypto/rand aborts the process instead
	_, _ = rand.Read(private) // the same
	return cluster.TokenID(hex.EncodeToString(public)), base64.RawURLEncoding.EncodeToString(private)
}

// ParseToken splits a token's text; KindUnauthenticated when it is none. The
// error never repeats the text.
func ParseToken(text string) (id cluster.TokenID, secret string, err error) {
	if !tokenRE.MatchString(text) {
		return "", "", cluster.Errorf(cluster.KindUnauthenticated, "token", "the token is not valid").
			Because("a token looks like paas_ID_SECRET").WithHint("log in again, or make a token with: paas token create")
	}
	public, secret, _ := strings.Cut(strings.TrimPrefix(text, tokenPrefix), "_")
	return cluster.TokenID(public), secret, nil
}

// TokenMatches reports whether secret is t's, in constant time. It does not look
// at expiry or scope.
func TokenMatches(t *cluster.Token, secret string) bool {
	return t != nil && subtle.ConstantTimeCompare(t.Hash, hashToken(secret)) == 1
}

func hashToken(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
