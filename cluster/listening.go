package cluster

import (
	"fmt"
	"strings"
	"time"
)

const (
	notListening = "did not listen on port "
	insteadOn    = " (listening: "
	onlyInside   = "localhost:"
)

// NotListening is the reason of a replica that did not listen on its port within
// its boot limit. listening is what it listens on instead: "3000", or
// "localhost:3000" if nobody outside its container can reach that.
func NotListening(port int, limit time.Duration, listening []string) string {
	reason := fmt.Sprintf("%s%d within %gs", notListening, port, limit.Seconds())
	if len(listening) > 0 {
		reason += insteadOn + strings.Join(listening, ", ") + ")"
	}
	return reason
}

// ListeningAdvice says how to mend what a text with such a reason tells; "" for all
// other texts.
func ListeningAdvice(text string) string {
	_, rest, ok := strings.Cut(text, notListening)
	if !ok {
		return ""
	}
	port, _, _ := strings.Cut(rest, " ")
	_, list, _ := strings.Cut(rest, insteadOn)
	list, _, _ = strings.Cut(list, ")")
	for at := range strings.SplitSeq(list, ", ") {
		if at == onlyInside+port {
			return "listen on 0.0.0.0:$PORT, not on localhost"
		}
	}
	if list != "" {
		return fmt.Sprintf("listen on $PORT, which is %s, at 0.0.0.0", port)
	}
	return "listen on 0.0.0.0:$PORT"
}
