package redistest

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel kill the process when the test dies, even by a
// panic or a kill that runs no cleanup.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
