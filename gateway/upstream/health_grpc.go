package upstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// GRPCOptions say what the health service of gRPC is asked.
type GRPCOptions struct {
	Service string // "" is the server as a whole
}

// grpcServing is the one status of the health service that counts as success.
const grpcServing = 1

// grpcStatuses are those of grpc.health.v1.HealthCheckResponse, for errors.
var grpcStatuses = []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

// maxGRPCMessage bounds the message of an answer, which has one number in it.
const maxGRPCMessage = 4 << 10

var errGRPCMessage = errors.New("the answer is no message of the health service")

// askGRPC calls grpc.health.v1.Health/Check. The request has one field, of one
// kind, so the message is written and read here by hand.
func (k *checker) askGRPC(ctx context.Context) error {
	message := grpcRequest(k.GRPC.Service)
	req := k.request(ctx, http.MethodPost, &url.URL{Path: "/grpc.health.v1.Health/Check"})
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(message)), int64(len(message))
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("Grpc-Timeout", strconv.FormatInt(max(k.Timeout.Milliseconds(), 1), 10)+"m")
	resp, err := k.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.ProtoMajor != 2:
		return errors.New("the endpoint does not speak HTTP/2")
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxGRPCMessage))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	code := resp.Trailer.Get("Grpc-Status") // there after the end of the body
	if code == "" {
		code = resp.Header.Get("Grpc-Status")
	}
	if code != "0" {
		return grpcRefusal(code)
	}
	status, err := grpcStatus(body)
	if err == nil && status != grpcServing {
		err = errors.New(grpcStatusName(status))
	}
	return err
}

// grpcRefusal says what a status means that is not OK. Two of them are mistakes in
// a configuration rather than the service's trouble, and the log has to tell.
func grpcRefusal(code string) error {
	switch code {
	case "":
		return errors.New("the answer is no answer of gRPC: it has no status")
	case "5":
		return errors.New("the endpoint does not know the service that it is asked for (grpc status 5)")
	case "12":
		return errors.New("the endpoint has no health service (grpc status 12)")
	}
	return fmt.Errorf("grpc status %q", code)
}

func grpcStatusName(status uint64) string {
	if status < uint64(len(grpcStatuses)) {
		return grpcStatuses[status]
	}
	return fmt.Sprintf("serving status %d", status)
}

// grpcRequest is a HealthCheckRequest in its frame: not compressed, then its
// length. Field 1 is the service; the empty string is left out.
func grpcRequest(service string) []byte {
	var field []byte
	if service != "" {
		field = append(field, 1<<3|2)
		field = binary.AppendUvarint(field, uint64(len(service)))
		field = append(field, service...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(field)))
	return append(frame, field...)
}

// grpcStatus reads field 1 of a HealthCheckResponse in its frame; what is not
// there is 0. Other fields may come with later versions of the service.
func grpcStatus(frame []byte) (status uint64, err error) {
	if len(frame) < 5 || frame[0] != 0 || uint64(binary.BigEndian.Uint32(frame[1:])) != uint64(len(frame)-5) {
		return 0, errGRPCMessage
	}
	for rest := frame[5:]; len(rest) > 0; {
		tag, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, errGRPCMessage
		}
		rest = rest[n:]
		value, size := uint64(0), 0
		switch tag & 7 {
		case 0:
			value, size = binary.Uvarint(rest)
		case 1:
			size = 8
		case 2:
			var length uint64
			if length, size = binary.Uvarint(rest); size > 0 && length <= uint64(len(rest)) {
				size += int(length)
			} else {
				size = 0
			}
		case 5:
			size = 4
		}
		if size <= 0 || size > len(rest) {
			return 0, errGRPCMessage
		}
		if tag == 1<<3 {
			status = value
		}
		rest = rest[size:]
	}
	return status, nil
}
