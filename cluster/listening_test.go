package cluster

import (
	"testing"
	"time"
)

func TestAdviceForWhatListensElsewhere(t *testing.T) {
	for reason, want := range map[string]string{
		NotListening(8080, time.Minute, []string{"localhost:8080"}):         "listen on 0.0.0.0:$PORT, not on localhost",
		NotListening(8080, time.Minute, []string{"3000", "localhost:8080"}): "listen on 0.0.0.0:$PORT, not on localhost",
		NotListening(8080, time.Minute, []string{"3000"}):                   "listen on $PORT, which is 8080, at 0.0.0.0",
		NotListening(80, time.Minute, []string{"localhost:8080"}):           "listen on $PORT, which is 80, at 0.0.0.0",
		NotListening(8080, time.Minute, nil):                                "listen on 0.0.0.0:$PORT",
		"exited with code 1 after 0.2s":                                     "",
	} {
		if got := ListeningAdvice("web.1 on vm " + reason); got != want {
			t.Errorf("%s: %q, want %q", reason, got, want)
		}
	}
}
