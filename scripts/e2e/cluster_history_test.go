//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// history is what clients of all servers did to some registers and what they were
// told. A register is an app's deploy branch: writing it is a command, reading it
// is a read that must be linearizable.
type history struct {
	f      *fleet
	began  time.Time
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex
	ops     []porcupine.Operation
	next    int // value to be written
	reads   int
	writes  int
	unknown int // writes without an answer
}

// registerOp is one read or write.
type registerOp struct {
	register int
	write    bool
	value    int // of a write
}

const (
	registers = 3
	// opWait is what an operation gets. One that is not answered stays possible for
	// ever, and each such one makes the check slower.
	opWait = 10 * time.Second
)

// newHistory starts two clients through each server.
func (f *fleet) newHistory() *history {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &history{f: f, began: time.Now(), cancel: cancel}
	for r := range registers {
		f.must(f.home, "apps", "create", fmt.Sprintf("register-%d", r))
	}
	for i, m := range f.servers() {
		for k := range 2 {
			h.work.Go(func() { h.client(ctx, 2*i+k, f.api(m)) })
		}
	}
	return h
}

func (h *history) client(ctx context.Context, id int, api *apiOf) {
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(id)))
	for ctx.Err() == nil {
		op := registerOp{register: rng.IntN(registers), write: rng.IntN(2) == 0}
		wait := 10 + rng.IntN(30)
		if !h.do(id, api, op) {
			wait += 200
		}
		select {
		case <-time.After(time.Duration(wait) * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// do makes one operation and writes it down; it says whether it was answered.
func (h *history) do(id int, api *apiOf, op registerOp) bool {
	path := fmt.Sprintf("/v1/apps/register-%d", op.register)
	ctx, cancel := context.WithTimeout(context.Background(), opWait)
	defer cancel()
	var in, out any
	var app struct {
		Branch string `json:"deploy_branch"`
	}
	method := http.MethodGet
	if op.write {
		h.mu.Lock()
		h.next++
		op.value = h.next
		h.mu.Unlock()
		method, in = http.MethodPatch, map[string]string{"deploy_branch": fmt.Sprintf("b%d", op.value)}
	} else {
		out = &app
	}
	call := time.Since(h.began).Nanoseconds()
	err := api.call(ctx, method, path, in, out)
	record := porcupine.Operation{ClientId: id, Input: op, Call: call, Return: time.Since(h.began).Nanoseconds()}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil && op.write:
		h.writes++
	case err == nil:
		h.reads++
		var n int
		_, _ = fmt.Sscanf(app.Branch, "b%d", &n) // "main" is 0: never written
		record.Output = n
	case op.write && !errors.Is(err, errNothingSent):
		h.unknown++
		record.Return = math.MaxInt64 // it may yet happen
	default:
		return false
	}
	h.ops = append(h.ops, record)
	return err == nil
}

// check stops the clients and fails the test unless the history is linearizable.
func (h *history) check() {
	h.f.t.Helper()
	h.cancel()
	h.work.Wait()
	model := porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			parts := make([][]porcupine.Operation, registers)
			for _, op := range all {
				r := op.Input.(registerOp).register
				parts[r] = append(parts[r], op)
			}
			return parts
		},
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			if op := input.(registerOp); op.write {
				return true, op.value
			}
			return output == state, state
		},
		DescribeOperation: func(input, output any) string {
			op := input.(registerOp)
			if op.write {
				return fmt.Sprintf("write %d: %d", op.register, op.value)
			}
			return fmt.Sprintf("read %d: %v", op.register, output)
		},
	}
	began := time.Now()
	result, info := porcupine.CheckOperationsVerbose(model, h.ops, 2*time.Minute)
	h.f.t.Logf("porcupine: %s; %d reads and %d writes through all servers, %d writes without an answer, checked in %v",
		result, h.reads, h.writes, h.unknown, time.Since(began).Round(time.Millisecond))
	if result == porcupine.Ok {
		return
	}
	path := fmt.Sprintf("/var/tmp/paas-history-%d.html", time.Now().Unix())
	if err := porcupine.VisualizePath(model, info, path); err != nil {
		h.f.t.Error(err)
	}
	h.f.t.Errorf("the history is not linearizable, or was not decided (%s): see %s", result, path)
}
