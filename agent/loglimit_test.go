package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLogQuota(t *testing.T) {
	for _, c := range []struct {
		name   string
		every  time.Duration // between two lines
		size   int
		lines  int
		passes [2]int // at least, at most
	}{
		{"a page", 0, 80, 60, [2]int{60, 60}},
		{"a stack dump at once", 0, 200, followBurstLines, [2]int{followBurstLines, followBurstLines}},
		{"more than that at once", 0, 200, 3 * followBurstLines, [2]int{followBurstLines, followBurstLines}},
		{"as fast as is allowed, for a minute", time.Second / followLines, 80, 60 * followLines, [2]int{60 * followLines, 60 * followLines}},
		{"50 times as fast, for 20 s", time.Second / followLines / 50, 80, 20 * 50 * followLines,
			[2]int{(20 - 1) * followLines, 20*followLines + followBurstLines}},
		{"few lines of the largest size, for 20 s", time.Second / 1000, maxLogText, 20 * 1000,
			[2]int{(20 - 1) * followBytes / maxLogText, (20*followBytes + followBurstBytes) / maxLogText}},
	} {
		var q logQuota
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		passed, told, gaps := 0, 0, 0
		for range c.lines {
			if q.take(now, now, c.size) {
				passed++
				left, _ := q.told()
				told += left
				gaps += min(left, 1)
			}
			now = now.Add(c.every)
		}
		left, _ := q.told()
		if told += left; passed < c.passes[0] || passed > c.passes[1] || passed+told != c.lines {
			t.Errorf("%s: %d lines passed, want %d to %d, %d were told to be left out, of %d", c.name, passed, c.passes[0], c.passes[1], told, c.lines)
		}
		if most := int(now.Sub(q.at.Add(-time.Duration(c.lines)*c.every))/time.Second) + 1; gaps > most {
			t.Errorf("%s: %d gaps, want at most one a second", c.name, gaps)
		}
	}
}

func TestFollowersAreToldWhatIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogLimiter()
		read := func() (lines, left int, upTo time.Time) {
			for {
				select {
				case p := <-l.queue:
					if p.left == 0 {
						lines++
					} else {
						left, upTo = left+p.left, p.At
					}
				default:
					return lines, left, upTo
				}
			}
		}
		for range 3 * followBurstLines { // nobody reads
			l.line(logEntry{At: time.Now(), Text: "x"})
		}
		printed := time.Now()
		lines, left, _ := read()
		if lines > followBurstLines || lines < followBurstLines-10 || left != 0 {
			t.Fatalf("%d passed, %d told", lines, left)
		}
		time.Sleep(time.Second) // of the bubble's: nothing else is printed
		synctest.Wait()
		if n, left, upTo := read(); n != 0 || left != 3*followBurstLines-lines || !upTo.Equal(printed) {
			t.Errorf("told of %d lines up to %v, want %d up to %v", left, upTo, 3*followBurstLines-lines, printed)
		}
		l.line(logEntry{At: time.Now(), Text: "x"})
		if n, left, _ := read(); n != 1 || left != 0 {
			t.Errorf("%d passed, %d left out after a second's rest", n, left)
		}
		for range followBurstLines {
			l.line(logEntry{At: time.Now(), Text: "x"})
		}
		l.close() // tells at once
		if n, left, _ := func() (lines, left int, _ time.Time) {
			for p := range l.queue {
				if left += p.left; p.left == 0 {
					lines++
				}
			}
			return lines, left, time.Time{}
		}(); n+left != followBurstLines || left == 0 {
			t.Errorf("%d passed and %d were told to be left out, of %d", n, left, followBurstLines)
		}
	})
}

// A follower that reads nothing for seconds is told when it reads on.
func TestFollowersThatHangAreToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLogLimiter()
		printed := 0
		for range 3 { // the first second's notice takes the last room for one
			for range 2 * followBurstLines {
				l.line(logEntry{At: time.Now(), Text: "x"})
				printed++
			}
			time.Sleep(1500 * time.Millisecond)
		}
		heard := 0
		read := func() {
			for len(l.queue) > 0 {
				heard += max(1, (<-l.queue).left)
			}
		}
		read()
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if read(); heard != printed {
			t.Errorf("%d lines passed or were told to be left out, of %d", heard, printed)
		}
		l.close()
	})
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
