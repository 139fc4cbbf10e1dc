//go:build !linux

package anatomy

// Set fails: the probe is for Linux.
func (Tag) Set(uintptr) error { return ErrNoProbe }

// Read fails: the probe is for Linux.
func (*Timings) Read(uintptr) error { return ErrNoProbe }
