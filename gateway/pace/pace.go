// Package pace lets long work go on beside requests. A load of ten thousand routes
// keeps a processor busy for a while; what waits for that processor is a request.
//
//	p := pace.New()
//	for _, r := range routes {
//		p.Step()
//		...
//	}
package pace

import "time"

const (
	// slice is how long work goes on without a pause. It is short beside the time that
	// a request takes anyway.
	slice = 400 * time.Microsecond
	// gentle is for how many slices work may take three quarters of the time in
	// pauses. What takes longer than that has half of it.
	gentle = 100
)

// Pacer takes pauses in the work of one goroutine. A nil Pacer takes none: at a start
// there is nobody to wait.
type Pacer struct {
	began  time.Time
	slices int
}

// New makes a Pacer for work that begins now.
func New() *Pacer { return &Pacer{began: time.Now()} }

// Step is called between small pieces of work. When a slice has been worked it sleeps
// for a while. To yield would not do: the scheduler looks at what waits to go on before
// it looks at the network, so requests that have just come would still come second.
func (p *Pacer) Step() {
	if p == nil || time.Since(p.began) < slice {
		return
	}
	pause := slice
	if p.slices++; p.slices <= gentle {
		pause = 3 * slice
	}
	time.Sleep(pause) //nolint:forbidigo // a pause is what it is for
	p.began = time.Now()
}
