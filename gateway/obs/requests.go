package obs

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// methods are the values of the method label. Any other method is the last one
// (CVE-2022-21698: a label that the client may choose freely fills the memory).
var methods = [...]string{
	"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", other,
}

func methodIndex(method string) int {
	for i := range len(methods) - 1 {
		if methods[i] == method {
			return i
		}
	}
	return len(methods) - 1
}

const (
	codeClasses = 5           // 1xx to 5xx
	otherClass  = codeClasses // everything else, in the first counter of its page
)

// page holds the counters of one class of codes.
type page [100]atomic.Uint64

// requestCounts counts requests by method and code. A page is made when the
// first code of its class is seen: most routes need two.
type requestCounts [len(methods)][codeClasses + 1]atomic.Pointer[page]

func (c *requestCounts) add(method string, status int) {
	class, i := status/100-1, status%100
	if status < 100 || status > 599 {
		class, i = otherClass, 0
	}
	slot := &c[methodIndex(method)][class]
	p := slot.Load()
	if p == nil {
		slot.CompareAndSwap(nil, new(page))
		p = slot.Load()
	}
	p[i].Add(1)
}

func (c *requestCounts) collect(ch chan<- prometheus.Metric, route, upstream, arm string) {
	for m := range c {
		for class := range c[m] {
			p := c[m][class].Load()
			if p == nil {
				continue
			}
			for i := range p {
				if n := p[i].Load(); n > 0 {
					counter(ch, requestsDesc, n, route, upstream, arm, methods[m], codeLabel(class, i))
				}
			}
		}
	}
}

func codeLabel(class, i int) string {
	if class == otherClass {
		return other
	}
	return strconv.Itoa((class+1)*100 + i)
}
