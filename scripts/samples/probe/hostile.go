package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// hostile are the one-offs that take what they can get. arg bounds them where
// the host's own disk is at stake. All end by themselves, should nobody be left to
// end them.
var hostile = map[string]func(arg string){"flood": flood, "fork": fork, "burn": burn, "litter": litter}

// hostility is how long a process takes what it can get.
const hostility = 2 * time.Minute

// takeAll is one of hostile, for its time.
func takeAll(how func(arg string), arg string) {
	time.AfterFunc(hostility, func() { os.Exit(0) })
	how(arg)
}

// flood prints lines of 200 bytes, arg MB of them a second or as fast as it is read.
func flood(arg string) {
	line := append(bytes.Repeat([]byte("flood "), 33), '.', '\n')
	block := bytes.Repeat(line, 300)
	for {
		if _, err := os.Stdout.Write(block); err != nil {
			return
		}
		if rate, _ := strconv.Atoi(arg); rate > 0 {
			time.Sleep(time.Duration(len(block)) * time.Microsecond / time.Duration(rate))
		}
	}
}

// fork makes two of itself, as does each of those, and goes on when it may not.
func fork(string) {
	for {
		_, _, _ = syscall.RawSyscall(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0) // children have no runtime, and need none
	}
}

// burn turns every core.
func burn(string) {
	for range runtime.NumCPU() {
		go func() {
			for {
			}
		}()
	}
	select {}
}

// litter makes arg empty files, then stays.
func litter(arg string) {
	n, _ := strconv.Atoi(arg)
	for i := range n {
		dir := fmt.Sprintf("/tmp/litter/%d", i/1000)
		if i%1000 == 0 {
			_ = os.MkdirAll(dir, 0o755)
		}
		f, err := os.Create(fmt.Sprintf("%s/%d", dir, i))
		if err != nil {
			fmt.Println("litter ended at", i, err)
			break
		}
		_ = f.Close()
	}
	fmt.Println("littered")
	select {}
}

var flips atomic.Int64

// flap is a check that fails every second time.
func flap(w http.ResponseWriter, _ *http.Request) {
	if flips.Add(1)%2 == 0 {
		http.Error(w, "flap", http.StatusServiceUnavailable)
	}
}

// tide is a check that fails for 12 s, passes for 12 s, and so on, at the same
// time in all replicas, or in those that ?only= names.
func tide(w http.ResponseWriter, r *http.Request) {
	only := r.FormValue("only")
	if only != "" && !slices.Contains(strings.Split(only, ","), os.Getenv("PAAS_INSTANCE")) {
		return
	}
	if time.Now().Unix()/12%2 == 0 {
		http.Error(w, "low tide", http.StatusServiceUnavailable)
	}
}

// endless answers for as long as somebody reads.
func endless(w http.ResponseWriter, _ *http.Request) {
	block := make([]byte, 32<<10)
	for err := error(nil); err == nil; _, err = w.Write(block) {
	}
}

// freeze stops the whole process: its kernel goes on to accept connections.
func freeze(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "freezing")
	w.(http.Flusher).Flush()
	time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) })
}
