package pithead_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// policies are the files that decide by how long something takes, or is old.
var policies = []string{
	"gateway/breaker", "gateway/limiter", "gateway/concurrency", "gateway/overload", "gateway/upstream", "gateway/balance", "gateway/httpcache",
	"gateway/latency.go", "gateway/conduct.go", "gateway/retry.go", "gateway/proxy",
	"middleware/circuit_breaker.go", "middleware/rate_limit.go", "middleware/rate_limit_buckets.go", "middleware/concurrency.go",
	"middleware/adaptive_limit.go", "middleware/retry.go", "middleware/cache.go", "middleware/cache_writer.go", "middleware/provider_breaker.go",
}

// wallClock is whatever makes a time, or a number, of the wall clock alone. A
// difference of two such times jumps with the clock; one of two readings of time.Now
// does not, because both have the monotonic clock in them.
var wallClock = regexp.MustCompile(`\.Round\(0\)|\.Unix(Nano|Milli|Micro)?\(|time\.(Unix|UnixMilli|Date|Parse)\(|\.(UTC|Local|In)\(\)\.Sub\(|CLOCK_REALTIME`)

// TestFault40NoPolicyReadsTheWallClock: whatever an operator, NTP or a leap second does
// to the clock, no breaker opens, no limit, timeout or ejection ends, and no retry
// budget or cached answer ages.
func TestFault40NoPolicyReadsTheWallClock(t *testing.T) {
	files := 0
	for _, root := range policies {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for n, line := range strings.Split(string(text), "\n") {
				if code, _, _ := strings.Cut(line, "//"); wallClock.MatchString(code) {
					t.Errorf("%s:%d reads the wall clock: %s", path, n+1, strings.TrimSpace(line))
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if files < 60 {
		t.Errorf("%d files were read", files)
	}
}
