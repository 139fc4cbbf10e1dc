package build

import (
	"os"
	"path/filepath"
)

// accessLog says what would keep the log's file from being opened, without
// making it: a check leaves nothing behind.
func (c *compiler) accessLog() {
	output := &c.cfg.AccessLog.Output
	switch *output {
	case "stdout", "stderr", "off":
		return
	}
	path := c.cfg.Path(output, *output)
	if info, err := os.Stat(path); err == nil {
		if info.IsDir() {
			c.fail(output, "%s is a folder; name a file in it", *output)
		}
		return
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil {
		c.fail(output, "the folder of the log: %w", err)
	} else if !info.IsDir() {
		c.fail(output, "%s is no folder", filepath.Dir(*output))
	}
}
