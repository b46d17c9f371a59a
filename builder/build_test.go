package builder

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"paas/cluster"
)

// What another build takes is not taken off this one's time.
func TestWaitingForAnotherBuildTakesNoTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := &Builder{config: Config{Limits: Limits{Time: time.Minute, Concurrent: 1}.withDefaults()}, slots: make(chan struct{}, 1)}
		b.slots <- struct{}{}
		ended := make(chan error, 1)
		go func() {
			_, err := b.Build(t.Context(), Request{App: "blog", Dir: dir})
			ended <- err
		}()
		time.Sleep(time.Hour) // fake time
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("given up while it waited: %v", err)
		default:
		}
		<-b.slots
		var e *cluster.Error
		if err := <-ended; !errors.As(err, &e) || e.Code != "detect" {
			t.Errorf("got %v, want a build that ran and found nothing", err)
		}
	})
}
