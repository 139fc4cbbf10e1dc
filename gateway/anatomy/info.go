package anatomy

import (
	"encoding/binary"
	"time"
)

// tick is what the kernel's times of last events may be wrong by, both ways: two
// ticks of the slowest clock that distributions build, less than which is nothing.
const tick = 10 * time.Millisecond

// Info is what the kernel tells of any connection (TCP_INFO of tcp(7)).
type Info struct {
	LastSent     time.Duration // since data was last sent, retransmits included; in ticks
	LastReceived time.Duration // since data last came; in ticks
	LastAcked    time.Duration // since an acknowledgement last came; in ticks
	MinRTT       time.Duration // the shortest round trip of the last minutes
	Unsent       uint32        // bytes that were written and have not been sent
	Unacked      uint32        // segments that have been sent and not acknowledged
	Retransmits  uint32        // of the connection
}

// infoSize is up to min_rtt, which Linux has had since 4.6.
const infoSize = 152

func (i *Info) decode(b []byte) bool {
	if len(b) < infoSize {
		return false
	}
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(b[at:]) }
	ms := func(at int) time.Duration { return time.Duration(u32(at)) * time.Millisecond }
	*i = Info{LastSent: ms(44), LastReceived: ms(52), LastAcked: ms(56), Unacked: u32(24), Retransmits: u32(100), Unsent: u32(144)}
	if us := u32(148); us != 1<<32-1 { // which is that there was none yet
		i.MinRTT = time.Duration(us) * time.Microsecond
	}
	return true
}

// Drained says whether the peer has everything that was written.
func (i *Info) Drained() bool { return i.Unsent == 0 && i.Unacked == 0 }
