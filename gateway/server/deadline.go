package server

import "time"

// spare is how far away a deadline is put that was to be cleared: the one that
// follows soon is mostly later, and then costs nothing.
const spare = time.Second

// deadline is that of the reads or of the writes of a connection. To set one in the
// runtime's poller takes about as long as the beginning of a system call, and
// the engine does it several times for a request, nearly always to a later time or to
// none. So a deadline that the socket has stays there when it comes too soon, and
// who meets it asks passed.
type deadline struct {
	want  time.Time // zero is never
	armed time.Time // what the socket has; never after want
}

// until wants t, which set tells the socket if it must know.
func (d *deadline) until(t time.Time, set func(time.Time) error) error {
	d.want = t
	now := time.Now()
	switch {
	case d.armed.After(now) && (t.IsZero() || !t.Before(d.armed)):
		return nil
	case !t.IsZero():
		return d.arm(t, set)
	case d.armed.IsZero():
		return nil
	default:
		return d.arm(now.Add(spare), set)
	}
}

// exactly wants t and tells the socket so.
func (d *deadline) exactly(t time.Time, set func(time.Time) error) error {
	d.want = t
	return d.arm(t, set)
}

func (d *deadline) arm(t time.Time, set func(time.Time) error) error {
	d.armed = t
	return set(t)
}

// passed is asked when the socket says that the time is over. If it is not, the
// socket learns the right time.
func (d *deadline) passed(set func(time.Time) error) bool {
	if !d.want.IsZero() && !time.Now().Before(d.want) {
		return true
	}
	return d.arm(d.want, set) != nil
}
