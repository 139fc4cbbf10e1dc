package pace

import (
	"testing"
	"testing/synctest"
	"time"
)

// work is what the processor does in a piece; in a bubble only sleeping takes time.
func work(d time.Duration) { <-time.After(d) }

func TestHalfOfTheTimeIsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, p := time.Now(), New()
		const pieces, piece = 1000, 100 * time.Microsecond
		for range pieces {
			p.Step()
			work(piece)
		}
		if took := time.Since(begin); took < pieces*piece*19/10 || took > pieces*piece*2 {
			t.Errorf("%s of work took %s", pieces*piece, took)
		}
	})
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
