// Probe is an app that behaves as it is told: the tests push it as a FROM
// scratch image. Flags and environment choose how it boots, stops and fails.
//
//	-boot 10s     listen only after that long
//	-crash 0s     exit with code 3 that long after the start; negative: never; $PROBE_CRASH is the default
//	-linger 5s    after SIGTERM, go on for that long
//	-deaf         never listen
//	-port N       listen there instead of on $PORT
//
// Run with a sub-command it is a one-off: "exit N", "env KEY", "cat", "sleep D", "hog", "tty",
// "spy" and "dial ADDRESS…", and the hostile ones "flood", "fork", "burn" and "litter N".
package main

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	if len(os.Args) > 1 && os.Args[1][0] != '-' {
		os.Exit(oneOff(os.Args[1], append(os.Args[2:], "")[0]))
	}
	boot := flag.Duration("boot", 0, "")
	crash := flag.Duration("crash", crashDefault(), "")
	linger := flag.Duration("linger", 0, "")
	deaf := flag.Bool("deaf", false, "")
	port := flag.String("port", os.Getenv("PORT"), "")
	flag.Parse()
	fmt.Println("probe starting", os.Getenv("PAAS_INSTANCE"), os.Getenv("PAAS_RELEASE"))
	if *crash >= 0 {
		time.AfterFunc(*crash, func() {
			fmt.Println("Error: cannot find configuration ./config/prod")
			os.Exit(3)
		})
	}
	time.Sleep(*boot)
	if *deaf || *port == "" {
		fmt.Println("probe listens on nothing")
		<-stopped()
		return
	}
	serve(*port, *linger)
}

func crashDefault() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("PROBE_CRASH")); err == nil {
		return d
	}
	return -1
}

func stopped() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	return c
}

func serve(port string, linger time.Duration) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", root)
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getenv(r.FormValue("key"))) })
	mux.HandleFunc("/headers", headers)
	mux.HandleFunc("/ill", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "ill", http.StatusServiceUnavailable) })
	mux.HandleFunc("/flap", flap)
	mux.HandleFunc("/tide", tide)
	mux.HandleFunc("/freeze", freeze)
	mux.HandleFunc("/endless", endless)
	mux.HandleFunc("/slow", slow)
	mux.HandleFunc("/sse", sse)
	mux.HandleFunc("/ws", websocket)
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/spy", func(w http.ResponseWriter, r *http.Request) { spy(w) })
	mux.HandleFunc("/dial", func(w http.ResponseWriter, r *http.Request) { dial(w, r.URL.Query()["to"]) })
	mux.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) {
		fmt.Fprintln(os.Stderr, "exiting as asked")
		os.Exit(4)
	})
	srv := &http.Server{Addr: ":" + port, Handler: mux}
	go func() {
		<-stopped()
		fmt.Println("probe got SIGTERM")
		time.Sleep(linger)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
		os.Exit(0)
	}()
	fmt.Println("probe listening on", port)
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	select {}
}

// Version is set by the tests at link time.
var Version = "v1"

func root(w http.ResponseWriter, r *http.Request) {
	host, _ := os.Hostname()
	fmt.Fprintf(w, "version=%s instance=%s release=%s host=%s greeting=%s\n",
		Version, os.Getenv("PAAS_INSTANCE"), os.Getenv("PAAS_RELEASE"), host, os.Getenv("GREETING"))
}

func headers(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "Host: %s\n", r.Host)
	_ = r.Header.Write(w)
}

func slow(w http.ResponseWriter, r *http.Request) {
	d, _ := time.ParseDuration(r.FormValue("for"))
	select {
	case <-time.After(d):
	case <-r.Context().Done():
		return
	}
	fmt.Fprintln(w, "slept", d)
}

func sse(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := 0; ; i++ {
		fmt.Fprintf(w, "data: %d\n\n", i)
		w.(http.Flusher).Flush()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
	}
}

// websocket echoes text frames of up to 64 KiB.
func websocket(w http.ResponseWriter, r *http.Request) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]))
	_ = rw.Flush()
	for echo(rw) == nil {
	}
}

func echo(rw *bufio.ReadWriter) error {
	var head [2]byte
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return err
	}
	n := int(head[1] & 127)
	if n == 126 {
		var l [2]byte
		if _, err := io.ReadFull(rw, l[:]); err != nil {
			return err
		}
		n = int(binary.BigEndian.Uint16(l[:]))
	}
	var mask [4]byte
	if _, err := io.ReadFull(rw, mask[:]); err != nil {
		return err
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(rw, body); err != nil {
		return err
	}
	for i := range body {
		body[i] ^= mask[i%4]
	}
	out := []byte{head[0], byte(min(n, 126))}
	if n >= 126 {
		out = binary.BigEndian.AppendUint16(out, uint16(n))
	}
	if _, err := rw.Write(append(out, body...)); err != nil {
		return err
	}
	if head[0]&15 == 8 {
		_ = rw.Flush()
		return io.EOF
	}
	return rw.Flush()
}

func oneOff(verb, arg string) int {
	switch verb {
	case "exit":
		n, _ := strconv.Atoi(arg)
		return n
	case "env":
		fmt.Println(os.Getenv(arg))
	case "cat":
		_, _ = io.Copy(os.Stdout, os.Stdin)
	case "sleep":
		d, _ := time.ParseDuration(arg)
		time.Sleep(d)
	case "hog":
		fmt.Println("probe takes all memory")
		var all [][]byte
		for {
			b := make([]byte, 8<<20)
			for i := range b {
				b[i] = 1
			}
			all = append(all, b)
			_ = all
		}
	case "tty":
		return tty()
	case "spy":
		spy(os.Stdout)
	case "dial":
		dial(os.Stdout, os.Args[2:])
	default:
		if f := hostile[verb]; f != nil {
			takeAll(f, arg)
			return 0
		}
		fmt.Fprintln(os.Stderr, "probe: no verb", verb)
		return 2
	}
	return 0
}

// tty says its terminal's size whenever that changes, until Ctrl-C: exit code 5.
func tty() int {
	c := make(chan os.Signal, 4)
	signal.Notify(c, syscall.SIGINT, syscall.SIGWINCH)
	for {
		var size struct{ rows, cols, x, y uint16 }
		if _, _, err := syscall.Syscall(syscall.SYS_IOCTL, 0, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size))); err != 0 {
			fmt.Println("no terminal:", err)
			return 1
		}
		fmt.Printf("terminal %dx%d\n", size.cols, size.rows)
		if <-c == syscall.SIGINT {
			return 5
		}
	}
}
