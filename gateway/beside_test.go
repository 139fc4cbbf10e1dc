package gateway

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// What a middleware may say of a request must be known to an attempt beside
// others, and what becomes of attempts must not.
func TestBeside(t *testing.T) {
	own := []string{
		"Endpoint", "Attempts", "UpstreamStart", "UpstreamHeaders", "UpstreamWaited", "UpstreamEnd",
		"StandIn", "Status", "BytesIn", "BytesOut", "Err",
	}
	x := &Exchange{Deadline: time.Unix(1, 0)}
	v := reflect.ValueOf(x).Elem()
	for _, f := range v.Fields() {
		switch {
		case !f.CanSet():
		case f.Kind() == reflect.String:
			f.SetString("set")
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		case f.CanInt():
			f.SetInt(7)
		case f.CanUint():
			f.SetUint(7)
		case f.Kind() == reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		}
	}
	beside := reflect.ValueOf(x.Beside()).Elem()
	for field, f := range v.Fields() {
		if !f.CanSet() || f.IsZero() {
			continue
		}
		if copied := !beside.FieldByIndex(field.Index).IsZero(); copied == slices.Contains(own, field.Name) {
			t.Errorf("%s: copied is %v", field.Name, copied)
		}
	}
}
