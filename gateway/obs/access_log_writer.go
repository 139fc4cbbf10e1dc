package obs

import (
	"bytes"
	"time"
)

// write is the goroutine that owns the output. The first line after a pause is
// written at once; while more come, they go out in batches.
func (l *AccessLog) write() {
	defer close(l.done)
	w := &batchWriter{log: l, batch: make([]byte, 0, maxBatch)}
	pause := time.NewTimer(linger)
	defer pause.Stop()
	for {
		stopping := l.stopping()
		if l.reopened() {
			w.torn = false
		}
		busy := w.drain()
		switch {
		case stopping:
			l.closeFile()
			return
		case busy:
			pause.Reset(linger)
			select {
			case <-pause.C:
			case <-l.wake:
			case <-l.stop:
			}
		default:
			l.sleep()
		}
	}
}

func (l *AccessLog) stopping() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// sleep waits until there is something to do. Whoever puts a line into the ring
// looks at asleep afterwards, and sleep looks at the ring after it has set
// asleep: one of the two sees the other.
func (l *AccessLog) sleep() {
	l.asleep.Store(true)
	defer l.asleep.Store(false)
	if l.ring.ready() || l.next.Load() != nil {
		return
	}
	select {
	case <-l.wake:
	case <-l.stop:
	}
}

func (l *AccessLog) reopened() bool {
	file := l.next.Swap(nil)
	if file == nil {
		return false
	}
	l.closeFile()
	l.file, l.out = file, file
	return true
}

func (l *AccessLog) closeFile() {
	if l.file != nil {
		_ = l.file.Close() // what it could not take has been counted
	}
}

// batchWriter gathers lines and writes them together.
type batchWriter struct {
	log   *AccessLog
	batch []byte
	torn  bool // the output ends within a line, because a write failed halfway
}

// drain writes what is in the ring now and says whether that was anything.
func (w *batchWriter) drain() (busy bool) {
	for range ringSlots {
		line := w.log.ring.take()
		if line == nil {
			break
		}
		busy = true
		if len(w.batch)+len(*line) > maxBatch {
			w.flush()
		}
		if w.torn && len(w.batch) == 0 {
			w.batch = append(w.batch, '\n')
		}
		w.batch = append(w.batch, *line...)
		w.log.recycle(line)
	}
	w.flush()
	return busy
}

func (w *batchWriter) flush() {
	if len(w.batch) == 0 {
		return
	}
	n, err := w.log.out.Write(w.batch)
	if err != nil {
		lost := bytes.Count(w.batch[n:], []byte{'\n'})
		if w.torn && n == 0 {
			lost-- // the end of the torn line, which has been counted
		}
		w.log.dropped(lost)
	}
	if n > 0 {
		w.torn = w.batch[n-1] != '\n'
	}
	w.batch = w.batch[:0]
}
