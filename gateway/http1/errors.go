package http1

// RequestError is why a request was not sent: its server has not seen it.
type RequestError struct{ why string }

func (e *RequestError) Error() string { return "the request cannot be sent: " + e.why }

// AnswerError is what makes an answer invalid.
type AnswerError struct{ why string }

func (e *AnswerError) Error() string { return "the answer is invalid: " + e.why }
