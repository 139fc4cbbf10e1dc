package http1

import (
	"sync"
	"time"
)

// idle keeps the connections that no request uses, by address.
type idle struct {
	mu    sync.Mutex
	conns map[string][]*conn // the one that was used last is last
	timer *time.Timer        // nil while there is nothing to close
	shut  bool               // nobody has asked for a connection since closeAll
}

// take returns the connection that was used last, whose window and whose server's
// caches are the warmest; nil when there is none.
func (p *idle) take(addr string, timeout time.Duration) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shut = false
	conns := p.conns[addr]
	if len(conns) == 0 {
		return nil
	}
	c := conns[len(conns)-1]
	if timeout > 0 && time.Since(c.rests) >= timeout {
		return nil // the timer is about to close it, and those before it
	}
	conns[len(conns)-1] = nil
	p.conns[addr] = conns[:len(conns)-1]
	return c
}

// put keeps c, and says whether there was room.
func (p *idle) put(c *conn, most int, timeout time.Duration) bool {
	c.rests = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	conns := p.conns[c.addr]
	if p.shut || len(conns) >= most {
		return false
	}
	if p.conns == nil {
		p.conns = make(map[string][]*conn)
	}
	p.conns[c.addr] = append(conns, c)
	if timeout > 0 && p.timer == nil {
		p.timer = time.AfterFunc(timeout, func() { p.expire(timeout) })
	}
	return true
}

// expire closes what has not been used for so long, and comes again when it is the
// turn of the next one.
func (p *idle) expire(timeout time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, next := time.Now(), time.Duration(-1)
	for addr, conns := range p.conns {
		n := 0
		for n < len(conns) && now.Sub(conns[n].rests) >= timeout {
			conns[n].close()
			n++
		}
		if n == len(conns) {
			delete(p.conns, addr)
			continue
		}
		if n > 0 {
			p.conns[addr] = append([]*conn(nil), conns[n:]...)
		}
		if rest := timeout - now.Sub(conns[n].rests); next < 0 || rest < next {
			next = rest
		}
	}
	if next < 0 {
		p.timer = nil
		return
	}
	p.timer.Reset(next)
}

func (p *idle) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conns := range p.conns {
		for _, c := range conns {
			c.close()
		}
	}
	clear(p.conns)
	p.shut = true
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}
