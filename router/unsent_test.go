package router

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestUnreadAnswersStayWithTheApp: the kernel takes little for a client that reads
// nothing. The client's own buffer takes some, too.
func TestUnreadAnswersStayWithTheApp(t *testing.T) {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)) // it is what ends the loop
	taken, block := 0, make([]byte, 16<<10)
	for err == nil {
		var n int
		n, err = c.Write(block)
		taken += n
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if most := unsent + 192<<10; taken > most {
		t.Errorf("the kernel took %d KiB, want at most %d", taken>>10, most>>10)
	}
}
