package gateway

import (
	"sync"
	"testing"
)

func TestSpare(t *testing.T) {
	var none *Spare
	if !none.Take(1 << 40) {
		t.Error("nobody has a bound")
	}
	none.Give(1 << 40)
	s := new(Spare)
	if !s.Take(1 << 40) {
		t.Error("0 is no bound")
	}
	s.Give(1 << 40)
	s.Bound(100)
	if !s.Take(60) || s.Take(41) || !s.Take(40) || s.Take(1) {
		t.Errorf("%d of 100 taken", s.Used())
	}
	s.Bound(50) // what is taken stays taken
	s.Give(60)
	if s.Take(11) || !s.Take(10) || s.Used() != 50 {
		t.Errorf("%d of 50 taken", s.Used())
	}
}

// However many take at a time, it is never more than there is.
func TestSpareOfMany(t *testing.T) {
	s := new(Spare)
	s.Bound(1000)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10_000 {
				if s.Take(300) {
					s.Give(300)
				}
			}
		})
	}
	all.Wait()
	if s.Used() != 0 || !s.Take(1000) || s.Take(1) {
		t.Errorf("%d are left", s.Used())
	}
}
