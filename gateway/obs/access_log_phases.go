package obs

import "github.com/pithead/pithead/gateway"

// appendPhases writes the phases that took time, with who has measured each, and
// whose fault a slow or failed request was:
//
//	"whose_fault":"upstream","phases":{"gateway":{"ms":0.120,"by":"user"}, ...}
func appendPhases(b []byte, x *gateway.Exchange) []byte {
	a := &x.Anatomy
	if !a.Known || !a.Sampled && a.Verdict == gateway.VerdictNone {
		return b
	}
	b = appendField(b, "whose_fault", a.Verdict.String())
	b = append(appendKey(b, "phases"), '{')
	start := len(b)
	for p, span := range a.Spans {
		if span.By == gateway.ByNobody {
			continue
		}
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, gateway.Phase(p).String()...)
		b = append(b, `":{"ms":`...)
		b = appendMicros(b, span.Took)
		b = append(b, `,"by":"`...)
		b = append(b, span.By.String()...)
		b = append(b, `"}`...)
	}
	return append(b, '}')
}

// appendPhaseWords is the same for people: phases=gateway:0.120,connect:1.002.
func appendPhaseWords(b []byte, x *gateway.Exchange) []byte {
	a := &x.Anatomy
	if !a.Known || !a.Sampled && a.Verdict == gateway.VerdictNone {
		return b
	}
	b = appendPair(b, "whose_fault", a.Verdict.String())
	b = append(b, " phases="...)
	start := len(b)
	for p, span := range a.Spans {
		if span.By == gateway.ByNobody {
			continue
		}
		if len(b) > start {
			b = append(b, ',')
		}
		b = append(b, gateway.Phase(p).String()...)
		b = append(b, ':')
		b = appendMicros(b, span.Took)
	}
	return b
}
