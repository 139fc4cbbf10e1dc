package demo

import "syscall"

// endWithParent makes the system end the agent with this process, however that ends.
func endWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} }
