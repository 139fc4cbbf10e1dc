package obs

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ConcurrencyState is what a limit of requests at a time looks like at the moment of a scrape.
type ConcurrencyState struct {
	Limit, Active, Waiting int
	Baseline               time.Duration     // that an adaptive limit goes by; 0 is none
	Refused                map[string]uint64 // by priority
}

// AdmissionState is the same of a limit that follows the health of a service.
type AdmissionState struct {
	Limit     float64 // requests per second; +Inf is none
	Condition int     // 0 healthy, 1 recovering, 2 degraded, 3 broken
	Refused   map[string]uint64
}

// OverloadState is what the process makes of its own load.
type OverloadState struct {
	Step     int                // 0 to 3
	Share    float64            // of requests that are refused
	Pressure map[string]float64 // by resource: memory as a share, cpu in seconds
	Refused  uint64
}

// WatchConcurrency shows a limit until forget is called.
func (m *Metrics) WatchConcurrency(name string, state func() ConcurrencyState) (forget func()) {
	return m.concurrency.watch(name, state)
}

// WatchAdmission shows a limit until forget is called.
func (m *Metrics) WatchAdmission(name string, state func() AdmissionState) (forget func()) {
	return m.admissions.watch(name, state)
}

// WatchOverload shows the load of the process until forget is called.
func (m *Metrics) WatchOverload(state func() OverloadState) (forget func()) {
	return m.overload.watch("", state)
}

func (m *Metrics) collectLoad(ch chan<- prometheus.Metric) {
	for name, s := range m.concurrency.states() {
		gauge(ch, concurrencyLimitDesc, float64(s.Limit), name)
		gauge(ch, concurrencyActiveDesc, float64(s.Active), name)
		gauge(ch, concurrencyWaitingDesc, float64(s.Waiting), name)
		if s.Baseline > 0 {
			gauge(ch, concurrencyBaselineDesc, s.Baseline.Seconds(), name)
		}
		for priority, n := range s.Refused {
			counter(ch, concurrencyRefusedDesc, n, name, priority)
		}
	}
	for name, s := range m.admissions.states() {
		gauge(ch, admissionLimitDesc, s.Limit, name)
		gauge(ch, admissionConditionDesc, float64(s.Condition), name)
		for priority, n := range s.Refused {
			counter(ch, admissionRefusedDesc, n, name, priority)
		}
	}
	for _, s := range m.overload.states() {
		gauge(ch, overloadStepDesc, float64(s.Step))
		gauge(ch, overloadShareDesc, s.Share)
		counter(ch, overloadRefusedDesc, s.Refused)
		for resource, p := range s.Pressure {
			gauge(ch, overloadPressureDesc, p, resource)
		}
	}
}
