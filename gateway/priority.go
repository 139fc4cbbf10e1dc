package gateway

import "slices"

// Priority says which requests are given up first when not all can be served.
type Priority int8

// The priorities.
const (
	PriorityLow    Priority = -1
	PriorityNormal Priority = 0
	PriorityHigh   Priority = 1
)

var priorityNames = []string{"low", "normal", "high"}

// String is the word that configurations use.
func (p Priority) String() string { return priorityNames[p+1] }

// ParsePriority reads such a word.
func ParsePriority(word string) (p Priority, ok bool) {
	i := slices.Index(priorityNames, word)
	return Priority(max(i, 0) - 1), i >= 0
}
