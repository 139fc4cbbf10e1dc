package anatomy

import (
	"os"
	"syscall"
	"unsafe"
)

// Set tags the socket fd. It allocates nothing.
func (t Tag) Set(fd uintptr) error {
	var room [TagSize]byte
	b := t.Append(room[:0])
	_, _, errno := syscall.Syscall6(syscall.SYS_SETSOCKOPT, fd, Level, OptTag, uintptr(unsafe.Pointer(&b[0])), TagSize, 0)
	return failed("setsockopt", errno)
}

// Read fills t with the timings of the socket fd. It allocates nothing. A socket
// that the probe does not watch is no error: t then lacks Tracked.
func (t *Timings) Read(fd uintptr) error {
	var b [TimingsSize]byte
	size := uint32(len(b))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, Level, OptTimings,
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return failed("getsockopt", errno)
	}
	return t.Decode(b[:min(size, TimingsSize)])
}

func failed(call string, errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case syscall.ENOPROTOOPT, syscall.EOPNOTSUPP:
		return ErrNoProbe
	}
	return os.NewSyscallError(call, errno)
}
