//go:build race

package http1

// The race detector makes sync.Pool forget on purpose, so budgets of
// allocations hold only without it.
const raceEnabled = true
