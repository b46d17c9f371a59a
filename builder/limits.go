package builder

import "time"

// Limits bound what one build may take. Zero fields are the defaults.
type Limits struct {
	// Time is how long one build may last, push included; 0 means 20 minutes.
	Time time.Duration
	// ContextBytes bounds what is sent to the engine; 0 means 1 GiB.
	ContextBytes int64
	// UnpackedBytes bounds an unpacked source tree; 0 means 2 GiB.
	UnpackedBytes int64
	// Files bounds the entries of a source tree; 0 means 100,000.
	Files int
	// LogBytes bounds a build's log; what comes later is dropped, the build goes on. 0 means 8 MiB.
	LogBytes int64
	// MemoryBytes and CPUMilli cap the steps of all builds together; 0 means half
	// the host's memory but at most 4 GiB, and three quarters of its processors.
	MemoryBytes int64
	CPUMilli    int64
	// PIDs caps processes and threads of the steps of all builds together; 0 means
	// 4096: enough for make -j and Node on a large machine, and what a fork bomb gets.
	PIDs int64
	// Concurrent is how many builds run at once; others wait. 0 means 2.
	Concurrent int
}

// withDefaults returns l with every zero field set.
func (l Limits) withDefaults() Limits {
	setDefault(&l.Time, 20*time.Minute)
	setDefault(&l.ContextBytes, 1<<30)
	setDefault(&l.UnpackedBytes, 2<<30)
	setDefault(&l.Files, 100_000)
	setDefault(&l.LogBytes, 8<<20)
	setDefault(&l.PIDs, 4096)
	setDefault(&l.Concurrent, 2)
	return l
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
