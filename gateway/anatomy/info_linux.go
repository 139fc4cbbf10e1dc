package anatomy

import (
	"syscall"
	"unsafe"
)

func (i *Info) read(fd uintptr) bool {
	var b [infoSize]byte
	size := uint32(len(b))
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
		uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&size)), 0)
	return errno == 0 && i.decode(b[:min(size, infoSize)])
}
