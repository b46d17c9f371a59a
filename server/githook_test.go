package server

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// TestHookRequestIsReadToItsEnd, however long it is: what is left of it would look like
// a hook that hung up.
func TestHookRequestIsReadToItsEnd(t *testing.T) {
	for n := range 4000 {
		sent := hookRequest{Push: "secret", Quarantine: strings.Repeat("x", n)}
		var conn bytes.Buffer
		if err := json.NewEncoder(&conn).Encode(sent); err != nil {
			t.Fatal(err)
		}
		size := conn.Len()
		got, err := readRequest(&conn)
		if err != nil || got.Quarantine != sent.Quarantine || conn.Len() > 0 {
			t.Errorf("of %d bytes %d are left, %v", size, conn.Len(), err)
		}
	}
}
