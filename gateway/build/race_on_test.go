//go:build race

package build

// Budgets of allocations are not those of the race detector's code.
const raceEnabled = true
