package anatomy

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
)

func TestLabelsStayAndAreBounded(t *testing.T) {
	var l labels
	if l.of("", "", "") != 0 {
		t.Error("nothing in particular has a label")
	}
	first := l.of("r", "a", "e")
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 2 * maxLabels {
				l.of("r", "a", fmt.Sprint("10.0.0.1:", i))
			}
		})
	}
	all.Wait()
	if again := l.of("r", "a", "e"); again != first || first <= overflow {
		t.Errorf("label %d, then %d", first, again)
	}
	if crowded := l.of("r", "a", "another"); crowded != l.of("r", "a", "") {
		t.Errorf("an endpoint too many has label %d", crowded)
	}
	if late := l.of("a new route", "", ""); late <= overflow || late >= maxLabels {
		t.Errorf("endpoints have taken the labels of routes: %d", late)
	}
	for i := range 2 * maxLabels {
		if label := l.of(fmt.Sprint("r", i), "", ""); label >= maxLabels || label == 0 {
			t.Fatalf("label %d", label)
		}
	}
	if label := l.of("one too many", "", ""); label != overflow {
		t.Errorf("label %d, want that of the overflow", label)
	}
	seen := map[uint32]bool{0: true}
	for _, n := range l.list() {
		if seen[n.Label] {
			t.Errorf("label %d is twice in the list", n.Label)
		}
		seen[n.Label] = true
	}
	if len(seen) != maxLabels {
		t.Errorf("%d labels, want %d", len(seen), maxLabels)
	}
}

// pair are the two ends of a connection.
func pair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = net.Dial("tcp", l.Addr().String()); err == nil {
		far, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// Without a probe one question in ten seconds is asked.
func TestSilence(t *testing.T) {
	k := NewKernel()
	near, _ := pair(t)
	var s Socket
	s.Init(near)
	if !k.Probed(time.Now()) {
		t.Error("silent before anybody was asked")
	}
	now := time.Now()
	k.Use(&s, now, "r", "", "", 0)
	k.heard(ErrNoProbe, now) // even if one watches this control group
	if k.Probed(now.Add(silence - time.Second)) {
		t.Error("asked again within ten seconds")
	}
	if !k.Probed(now.Add(silence + time.Second)) {
		t.Error("not asked again after ten seconds")
	}
	if n := testing.AllocsPerRun(100, func() { k.Use(&s, now, "r", "", "", 0) }); n > 0 {
		t.Errorf("%v allocations while silent", n)
	}
	// What was tagged is not tagged again for a while.
	s.last.Store(&mark{"r", "a", now.Add(silence)})
	if n := testing.AllocsPerRun(100, func() { k.Use(&s, now, "r", "a", "e", 0) }); n > 0 {
		t.Errorf("%v allocations when nothing has changed", n)
	}
}

func TestNobodyIsAskedWithoutASocket(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	k := NewKernel()
	var s Socket
	s.Init(near)
	now := time.Now()
	k.Use(&s, now, "r", "", "", 0)
	var c Client
	k.Client(&s, now, Shape{Bodyless: true}, &c)
	var u gateway.UpstreamSocket
	k.Upstream(&s, now, now, Shape{}, &u)
	if c != (Client{}) || u != (gateway.UpstreamSocket{}) || !k.Probed(now) || len(k.Labels()) > 0 {
		t.Errorf("%+v, %+v, %v", c, u, k.Labels())
	}
	var none *Kernel
	none.Use(&s, now, "r", "", "", 0)
	none.Client(&s, now, Shape{}, &c)
	if none.Probed(now) || none.Labels() != nil {
		t.Error("no kernel knows something")
	}
}

// The kernel tells how long bytes have been there, and whether the peer has
// everything.
func TestWhatTheKernelTells(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // info_other.go says all
	}
	near, far := pair(t)
	var s Socket
	s.Init(near)
	before := time.Now()
	if _, err := io.WriteString(far, "late"); err != nil {
		t.Fatal(err)
	}
	sent := time.Now()
	<-time.After(40 * time.Millisecond)
	start := time.Now()
	var c Client
	NewKernel().Client(&s, start, Shape{Bodyless: true}, &c)
	asked := time.Now() // the bytes came, and the kernel was asked, at some moment between two looks at the clock
	if least, most := start.Sub(sent)-asked.Sub(start)-tick, start.Sub(before)+tick; c.By != gateway.ByTCPInfo || c.Queue < least || c.Queue > most {
		t.Errorf("%+v, want a queue of %v to %v", c, least, most)
	}
	c = Client{}
	NewKernel().Client(&s, start, Shape{Bodyless: false}, &c)
	if c.By != gateway.ByNobody {
		t.Errorf("with a body nobody can say when the request came: %+v", c)
	}
	var i Info
	if !s.Info(&i) || !i.Drained() || i.MinRTT <= 0 || i.MinRTT > time.Second {
		t.Errorf("%+v", i)
	}
	fill(t, near)
	if !s.Info(&i) || i.Drained() {
		t.Errorf("the peer reads nothing, and yet: %+v", i)
	}
	if after, done := NewKernel().Drained(&s, time.Now().Add(-time.Second), 0); done || after < time.Second {
		t.Errorf("drained after %v: %v", after, done)
	}
	_ = near.Close()
	if _, done := NewKernel().Drained(&s, time.Now(), 0); !done {
		t.Error("a closed connection is waited for")
	}
}

// fill writes until nothing more fits.
func fill(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := conn.Write(make([]byte, 32<<20)); err == nil {
		t.Fatal("it has all fitted")
	}
}

func TestInfoOfAnOldKernel(t *testing.T) {
	var i Info
	if i.decode(make([]byte, infoSize-1)) {
		t.Error("half of the numbers are taken for all")
	}
	b := make([]byte, infoSize)
	copy(b[148:], "\xff\xff\xff\xff")
	if !i.decode(b) || i.MinRTT != 0 {
		t.Errorf("no round trip yet: %v", i.MinRTT)
	}
}

func TestNumber(t *testing.T) {
	for id, want := range map[string]uint64{"00000000000000ff": 255, "ffffffffffffffff": 1<<64 - 1, "": 0, "x": 0, "FF": 0} {
		if got := Number(id); got != want {
			t.Errorf("%q is %d, want %d", id, got, want)
		}
	}
}

func BenchmarkUse(b *testing.B) {
	near, _ := pair(b)
	var s Socket
	s.Init(near)
	k, now := NewKernel(), time.Now()
	s.last.Store(&mark{"r", "a", now.Add(time.Hour)})
	b.ReportAllocs()
	for b.Loop() {
		k.Use(&s, now, "r", "a", "e", 0)
	}
}

func BenchmarkSettle(b *testing.B) {
	x := gateway.Exchange{Start: at(0), UpstreamStart: at(5 * ms), UpstreamHeaders: at(60 * ms), UpstreamEnd: at(80 * ms)}
	c := Client{Drain: 5 * ms}
	b.ReportAllocs()
	for b.Loop() {
		Settle(&x, &c, at(90*ms))
		x.Anatomy.Verdict = Judge(&x)
	}
}
