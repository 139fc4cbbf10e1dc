package httpcache

import (
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"
)

func none(string) []string { return nil }

func stored(body int, tags ...string) *Answer {
	return NewAnswer(Parts{
		Terms: Terms{Lifetime: time.Hour, Born: time.Now()}, Status: 200, Header: http.Header{"Content-Type": {"text/plain"}},
		Body: make([]byte, body), Tags: tags, Now: time.Now(),
	})
}

// The bound holds for bytes of the process, not only for those that are counted, and a
// flood of URLs that nobody asks for again does not push out one that is in use.
func TestBoundOfBytes(t *testing.T) {
	const limit, keys = 16 << 20, 100_000
	before := heap()
	s := NewStore(limit)
	hot := []byte("https://api.example.com/hot")
	s.Put(hot, stored(100))
	for i := range keys {
		s.Put(fmt.Appendf(nil, "https://api.example.com/%d", i), stored(100))
		if i%100 == 0 && s.Get(hot, &Context{}, none).Answer == nil {
			t.Fatalf("the answer in use is gone after %d others", i)
		}
		if used := s.used.Load(); used > limit {
			t.Fatalf("%d bytes", used)
		}
	}
	i := s.Info()
	if i.Evicted == 0 || i.URLs < 1000 {
		t.Fatalf("%+v", i)
	}
	if grown := heap() - before; grown > limit*5/4 {
		t.Errorf("%d URLs of %d counted bytes take %d of the heap", i.URLs, i.Bytes, grown)
	}
	runtime.KeepAlive(s)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestPurge(t *testing.T) {
	for _, c := range []struct {
		what Purge
		left int64
	}{
		{Purge{URL: "https://a/1"}, 2},
		{Purge{Prefix: "https://a/"}, 1},
		{Purge{Tag: "red"}, 1},
		{Purge{All: true}, 0},
		{Purge{URL: "https://a"}, 3},
	} {
		t.Run(fmt.Sprintf("%+v", c.what), func(t *testing.T) {
			s := NewStore(1 << 20)
			s.Put([]byte("https://a/1"), stored(1, "red"))
			s.Put([]byte("https://a/2"), stored(1, "red", "blue"))
			s.Put([]byte("https://b/1"), stored(1))
			n := s.Purge(c.what)
			if i := s.Info(); i.Answers != c.left || int64(n) != 3-c.left || c.left == 0 && i.Bytes != 0 {
				t.Errorf("%d forgotten, %+v", n, i)
			}
		})
	}
}

// What is on its way when it is purged is old by the time it comes.
func TestPurgeOfFlights(t *testing.T) {
	s := NewStore(1 << 20)
	f, leads := s.Join([]byte("x"), []byte("https://a/1"))
	s.Purge(Purge{URL: "https://a/2"})
	if !leads || f.Outdated() {
		t.Fatal("purged with another URL")
	}
	if s.Purge(Purge{Prefix: "https://a/"}); !f.Outdated() {
		t.Error("not purged")
	}
	f.End(Lost, nil)
}

func TestGetAllocates(t *testing.T) {
	s := NewStore(1 << 20)
	key := []byte("https://a/1")
	s.Put(key, stored(1))
	c := Context{}
	if n := testing.AllocsPerRun(100, func() { s.Get(key, &c, none) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestVariantsAreBounded(t *testing.T) {
	s := NewStore(1 << 20)
	for i := range 100 {
		value := []string{fmt.Sprint(i)}
		s.Put([]byte("u"), NewAnswer(Parts{Status: 200, Header: http.Header{"Vary": {"A"}}, Sent: http.Header{"A": value}, Now: time.Now()}))
	}
	if i := s.Info(); i.Answers != maxVariants {
		t.Errorf("%d answers", i.Answers)
	}
}

func BenchmarkGet(b *testing.B) {
	s := NewStore(1 << 20)
	key := []byte("https://a/1")
	s.Put(key, stored(1))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c := Context{}
		for pb.Next() {
			s.Get(key, &c, none)
		}
	})
}
