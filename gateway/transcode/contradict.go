package transcode

import "google.golang.org/protobuf/encoding/protowire"

// contradicts says whether body, a message, has another value at the field that
// nums lead to than said, which is nothing but that field. A gateway that took
// one of two values in silence would show one to its policy and the other to the
// service.
func contradicts(body, said []byte, nums []protowire.Number) bool {
	var room [2][]byte
	in, want := leaves(room[:0], body, nums), leaves(nil, said, nums)
	if len(in) == 0 {
		return false
	}
	last := in[len(in)-1]
	if len(want) == 0 { // a zero, which is not written
		return !isZero(last)
	}
	return string(last) != string(want[len(want)-1]) || len(want) > 1 || len(in) > 1 && len(want) != len(in)
}

// leaves are the values at the end of nums, with their wire types before them.
func leaves(dst [][]byte, msg []byte, nums []protowire.Number) [][]byte {
	for len(msg) > 0 && len(nums) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return dst
		}
		m := protowire.ConsumeFieldValue(num, typ, msg[n:])
		if m < 0 {
			return dst
		}
		value := msg[n : n+m]
		msg = msg[n+m:]
		switch {
		case num != nums[0]:
		case len(nums) == 1:
			dst = append(dst, value)
		case typ == protowire.BytesType:
			inner, _ := protowire.ConsumeBytes(value)
			dst = leaves(dst, inner, nums[1:])
		}
	}
	return dst
}

func isZero(value []byte) bool {
	for _, b := range value {
		if b != 0 {
			return false
		}
	}
	return true
}
