// Package limitview is what operators see of the limits at work: how much they let
// through, who decides, and why. Blocks of the configuration show their limits in a
// Registry, and the admin API reads it.
//
// A report tells of nobody who sends requests, unless it is asked for what one
// caller has left; and what is asked is not in the answer.
package limitview
