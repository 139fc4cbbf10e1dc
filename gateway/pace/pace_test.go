package pace

import (
	"testing"
	"testing/synctest"
	"time"
)

// work is what the processor does in a piece; in a bubble only sleeping takes time.
func work(d time.Duration) { <-time.After(d) }

func TestPauses(t *testing.T) {
	for pieces, factor := range map[int]time.Duration{gentle: 4, 20 * gentle: 2} {
		synctest.Test(t, func(t *testing.T) {
			begin, p := time.Now(), New()
			for range pieces {
				work(slice)
				p.Step()
			}
			all := time.Duration(pieces) * slice
			if took := time.Since(begin); took < all*factor || took > all*factor*11/10 {
				t.Errorf("%s of work took %s", all, took)
			}
		})
	}
}

func TestShortWorkHasNoPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, p := time.Now(), New()
		for range 3 {
			p.Step()
			work(slice / 4)
		}
		p.Step()
		if took := time.Since(begin); took != 3*(slice/4) {
			t.Errorf("took %s", took)
		}
	})
}

func TestNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var p *Pacer
		for range 10 {
			p.Step()
			work(slice)
		}
		if took := time.Since(begin); took != 10*slice {
			t.Errorf("took %s", took)
		}
	})
}
