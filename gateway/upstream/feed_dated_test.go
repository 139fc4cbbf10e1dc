package upstream

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pithead/pithead/gateway"
)

// memory is a source that begins with a set from an hour ago, and later has the
// same one confirmed.
type memory struct{ confirmed time.Time }

func (m *memory) Confirmed() time.Time { return m.confirmed }

func (m *memory) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	m.confirmed = time.Now().Add(-time.Hour)
	publish(at("a:1"))
	<-time.After(time.Minute)
	m.confirmed = time.Now()
	publish(at("a:1"))
	<-ctx.Done()
	return ctx.Err()
}

// A remembered set is as good as any other, but for its age.
func TestFault20FeedOfARememberedSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewFeed("orders", &memory{}, quiet)
		c := New(Options{Name: "orders", Feed: f, Policy: turns, Log: quiet})
		defer f.Close()
		defer c.Close()
		c.Start()
		synctest.Wait()
		select {
		case <-c.Filled():
		default:
			t.Error("the upstream waits for more")
		}
		if age := time.Since(c.Confirmed()); age != time.Hour || c.Healthy("") != 1 {
			t.Errorf("%d endpoints, confirmed %s ago", c.Healthy(""), age)
		}
		<-time.After(2 * time.Minute)
		if age := time.Since(c.Confirmed()); age != time.Minute {
			t.Errorf("confirmed %s ago", age)
		}
	})
}
