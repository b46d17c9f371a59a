package agent

import (
	"sync"
	"time"
)

// What who follows may have of one replica's output. It is more than anybody can
// read and less than any machine notices; the bursts are whole stack dumps and
// start-ups.
const (
	followLines      = 2000    // lines a second
	followBytes      = 1 << 20 // bytes a second
	followBurstLines = 5 * followLines
	followBurstBytes = 5 * followBytes
)

// logQuota decides which lines of a replica a follower gets. Once it is used up
// nothing passes until there is a second's worth again, so that what passes of a
// flood are whole passages and not single lines. The zero value is a full quota.
type logQuota struct {
	at       time.Time // of the last look
	lines    float64   // that may pass at once, as may bytes
	bytes    float64
	dry      bool
	left     int       // lines left out that nobody was told of
	leftLast time.Time // when the newest of them was printed
}

// take reports whether a line of that size may pass at now. One that may not was
// printed at.
func (q *logQuota) take(now, at time.Time, size int) bool {
	if q.at.IsZero() {
		q.lines, q.bytes = followBurstLines, followBurstBytes
	} else if past := now.Sub(q.at).Seconds(); past > 0 {
		q.lines = min(q.lines+past*followLines, followBurstLines)
		q.bytes = min(q.bytes+past*followBytes, followBurstBytes)
	}
	q.at = now
	if q.dry && q.lines >= followLines && q.bytes >= followBytes {
		q.dry = false
	}
	if q.dry || q.lines < 1 || q.bytes < float64(size) {
		q.leave(at)
		return false
	}
	q.lines--
	q.bytes -= float64(size)
	return true
}

// leave leaves out a line that was printed at, and those of the next moments.
func (q *logQuota) leave(at time.Time) {
	q.dry, q.leftLast = true, at
	q.left++
}

// told is what was left out since the last time.
func (q *logQuota) told() (left int, upTo time.Time) {
	left, q.left = q.left, 0
	return left, q.leftLast
}

// passage is a line for a follower, or what was left out before the next one.
type passage struct {
	logEntry
	left int // 0: a line
}

// logLimiter takes a replica's lines as fast as they are printed, and hands on to
// one follower what the quota and the follower's own speed allow. What it leaves
// out it says, a second later at the latest or, to a follower that does not keep
// up, a second after that has read on. It is safe for concurrent use.
type logLimiter struct {
	queue chan passage // as much as may pass at once

	mu    sync.Mutex
	quota logQuota    // guarded by mu, as is timer
	timer *time.Timer // runs while something is left out that nobody was told of
}

func newLogLimiter() *logLimiter { return &logLimiter{queue: make(chan passage, followBurstLines+2)} }

// line takes what was printed. It does not wait for the follower.
func (l *logLimiter) line(e logEntry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.quota.take(time.Now(), e.At, len(e.Text)) {
		l.later()
		return
	}
	if len(l.queue) > followBurstLines-2 { // whoever reads does not keep up
		l.quota.leave(e.At)
		l.quota.lines = 0
		l.later()
		return
	}
	l.tell()
	l.queue <- passage{logEntry: e} // there is room: only this type's methods send
}

// later lets late tell of what no line comes after. The caller holds mu.
func (l *logLimiter) later() {
	if l.timer == nil {
		l.timer = time.AfterFunc(time.Second, l.late)
	}
}

func (l *logLimiter) late() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer == nil {
		return // closed meanwhile
	}
	l.timer = nil
	if l.tell(); l.quota.left > 0 { // no room: the follower reads nothing
		l.later()
	}
}

// tell says what was left out, if there is room to say it. The caller holds mu.
func (l *logLimiter) tell() {
	if l.quota.left == 0 || len(l.queue) > followBurstLines-1 {
		return
	}
	left, upTo := l.quota.told()
	l.queue <- passage{logEntry: logEntry{At: upTo}, left: left}
}

// close ends the queue after what is still to be told. No line comes after it.
func (l *logLimiter) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.tell()
	close(l.queue)
}
