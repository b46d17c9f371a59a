package router

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"paas/cluster"
)

func TestBlackHoleIsTriedOnceAndLeftOut(t *testing.T) {
	inBubble(t, say("x"), func(t *testing.T, b *bubble) {
		good := cluster.Upstream{Allocation: "a-1", Zone: "a"}
		b.r.SetTable(tableOf(2, routeTo("a.localhost", good, cluster.Upstream{Allocation: "a-2", Zone: "a", Address: "black hole"})))
		slow := 0
		for range 100 {
			start := time.Now()
			c := b.connect()
			go io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
			if status, _ := readRaw(t, c); status != 200 {
				t.Fatalf("status = %d", status)
			}
			_ = c.Close()
			if time.Since(start) > 0 {
				slow++
				between(t, "retry", time.Since(start), 3*time.Second, 4*time.Second)
			}
			time.Sleep(100 * time.Millisecond)
		}
		// 100 requests take 10 s of pauses and the dials: ejected for 1, 2, 4, 8 s.
		if slow == 0 || slow > 5 {
			t.Errorf("%d of 100 requests met the black hole, want 1 to 5", slow)
		}
	})
}

func TestEjectionDoublesAndIsForgiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e ejection
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			want *= time.Second
			if !e.strike(time.Now()) || e.strike(time.Now()) {
				t.Error("many failures at once are not one strike")
			}
			time.Sleep(want - time.Millisecond)
			if !e.ejected(time.Now()) {
				t.Errorf("back before %v", want)
			}
			time.Sleep(time.Millisecond)
			if e.ejected(time.Now()) {
				t.Errorf("still out after %v", want)
			}
		}
		e.forgive()
		e.strike(time.Now())
		time.Sleep(time.Second)
		if e.ejected(time.Now()) {
			t.Error("forgiven, but not from the start")
		}
	})
}
