package demo

import "syscall"

// endWithParent makes the system end the agent with this process, however that
// ends, but not by a Ctrl-C, which is for this process first.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
}
