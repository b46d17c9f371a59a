package api

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlainNewsBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := NewPlainNews(&out)
		time.Sleep(11 * time.Second)
		p.Show(Progress{Kind: ProgressStep, Text: "Building"})
		time.Sleep(9 * time.Second)
		p.Close()
		time.Sleep(time.Minute)
		if got, want := out.String(), "       … 10s\n-----> Building\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
