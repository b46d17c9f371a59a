package builder

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// deviceRule is a character device that steps may open; a minor below 0 is any.
type deviceRule struct{ major, minor int32 }

// stepDevices are what runc lets every container open, and nothing else.
var stepDevices = [...]deviceRule{
	{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, // null, zero, full, random, urandom
	{5, 0}, {5, 1}, {5, 2}, // tty, console, ptmx
	{136, -1}, // pts
}

// instruction is one of a BPF program, as the kernel takes it.
type instruction struct {
	code      uint8
	registers uint8 // destination | source<<4
	offset    int16
	value     int32
}

// deviceProgram decides about an access. As runc's own it lets every node be made,
// and only harmless ones be opened. Its argument is struct bpf_cgroup_dev_ctx:
// access_type (kind | access<<16), major, minor.
func deviceProgram() []instruction {
	const (
		load, narrow, shift, move = 0x61, 0x54, 0x74, 0xbc // *(u32*)(source+offset), &=, >>=, =
		unless, result, exit      = 0x55, 0xb7, 0x95       // jump if not equal
		kindChar, accessMknod     = 2, 1
	)
	answer := func(n int32) []instruction { return []instruction{{code: result, value: n}, {code: exit}} }
	is := func(register uint8, value int32, skip int16) instruction {
		return instruction{unless, register, skip, value}
	}
	p := []instruction{
		{load, 2 | 1<<4, 0, 0}, {move, 3 | 2<<4, 0, 0}, {narrow, 2, 0, 0xffff}, {shift, 3, 0, 16}, // 2 is the kind, 3 the access
		{load, 4 | 1<<4, 4, 0}, {load, 5 | 1<<4, 8, 0}, // 4 is the major number, 5 the minor one
	}
	p = append(append(p, is(3, accessMknod, 2)), answer(1)...)
	for _, d := range stepDevices {
		p = append(p, is(2, kindChar, 4), is(4, d.major, 3))
		if d.minor >= 0 {
			p = append(p, is(5, d.minor, 2))
		} else {
			p = append(p, is(4, d.major, 2)) // again, so that all rules are of one length
		}
		p = append(p, answer(1)...)
	}
	return append(p, answer(0)...)
}

// filterDevices keeps the processes of a group of version 2 from devices. A group
// has one such filter: the next replaces it.
func filterDevices(dir string) error {
	group, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("filter devices: %w", err)
	}
	defer group.Close() // only read
	code, license := deviceProgram(), []byte("Apache-2.0\x00")
	load := struct {
		kind, count                           uint32
		code, license                         uint64
		logLevel, logSize                     uint32
		log                                   uint64
		kernel, flags                         uint32
		name                                  [unix.BPF_OBJ_NAME_LEN]byte
		ifindex, attach, btf, recordSize, pad uint32
	}{kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(code)),
		code: uint64(uintptr(unsafe.Pointer(&code[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	program, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&load), unsafe.Sizeof(load))
	runtime.KeepAlive(code)
	runtime.KeepAlive(license)
	if err != nil {
		return fmt.Errorf("filter devices: load: %w", err)
	}
	defer unix.Close(program) // the group keeps it
	attach := struct{ group, program, kind, flags uint32 }{uint32(group.Fd()), uint32(program), unix.BPF_CGROUP_DEVICE, 0}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attach), unsafe.Sizeof(attach)); err != nil {
		return fmt.Errorf("filter devices: attach: %w", err)
	}
	return nil
}

func bpf(command uintptr, attributes unsafe.Pointer, size uintptr) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attributes), size)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
