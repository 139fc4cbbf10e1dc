package middleware_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/proxy"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

// describedCluster is an upstream in memory that describes itself, and answers every
// other call with an empty message.
type describedCluster struct {
	*middlewaretest.Cluster

	mu    sync.Mutex
	files []*descriptorpb.FileDescriptorProto // nil: the reflection fails
	mark  uint64
	asked int // how often reflections began
}

// EndpointsMark is another one when the endpoints have changed.
func (c *describedCluster) EndpointsMark() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mark
}

// deploy changes the endpoints, and what they say of themselves.
func (c *describedCluster) deploy(files []*descriptorpb.FileDescriptorProto) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files = files
	c.mark++
}

// askedSince is how often the upstream was asked since the last time.
func (c *describedCluster) askedSince() int {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { c.asked = 0 }()
	return c.asked
}

// RoundTrip implements http.RoundTripper.
func (c *describedCluster) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	answer := frame(0, "")
	if strings.HasSuffix(r.URL.Path, "/ServerReflectionInfo") {
		if answer, err = c.describe(body); err != nil {
			return nil, err
		}
	}
	return &http.Response{
		StatusCode: 200, Proto: "HTTP/2.0", ProtoMajor: 2, Request: r, ContentLength: -1, Header: http.Header{"Content-Type": {"application/grpc"}},
		Body: io.NopCloser(strings.NewReader(answer)), Trailer: http.Header{"Grpc-Status": {"0"}},
	}, nil
}

func (c *describedCluster) describe(questions []byte) (answer string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for in := bytes.NewReader(questions); in.Len() > 0; {
		head := make([]byte, 5)
		if _, err := io.ReadFull(in, head); err != nil {
			return "", err
		}
		raw := make([]byte, binary.BigEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(in, raw); err != nil {
			return "", err
		}
		var q grpc_reflection_v1.ServerReflectionRequest
		if err := proto.Unmarshal(raw, &q); err != nil {
			return "", err
		}
		var told grpc_reflection_v1.ServerReflectionResponse
		if _, first := q.GetMessageRequest().(*grpc_reflection_v1.ServerReflectionRequest_ListServices); first {
			if c.asked++; c.files == nil {
				return "", errors.New("the upstream is away")
			}
			told.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: &grpc_reflection_v1.ListServiceResponse{
				Service: []*grpc_reflection_v1.ServiceResponse{{Name: "orders.v1.Orders"}},
			}}
		} else {
			all := &grpc_reflection_v1.FileDescriptorResponse{}
			for _, f := range c.files {
				raw, err := proto.Marshal(f)
				if err != nil {
					return "", err
				}
				all.FileDescriptorProto = append(all.FileDescriptorProto, raw)
			}
			told.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_FileDescriptorResponse{FileDescriptorResponse: all}
		}
		out, err := proto.Marshal(&told)
		if err != nil {
			return "", err
		}
		answer += frame(0, string(out))
	}
	return answer, nil
}

// withoutOrder are the descriptors of the demo's service when it had no GetOrder yet.
func withoutOrder() []*descriptorpb.FileDescriptorProto {
	files := ordersFiles()
	last := files[len(files)-1]
	service := last.GetService()[0]
	service.Method = service.GetMethod()[1:]
	return files
}

func TestGRPCTranscodeReflectionRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		env := middlewaretest.Env(t, middlewaretest.NewCluster("orders"))
		scope := keep.NewPool().Scope() // its values end in the bubble
		env.Keep = scope
		to := &describedCluster{Cluster: middlewaretest.NewCluster("orders"), mark: 1}
		env.To = to
		step := middlewaretest.Build(t, env, "grpc_transcode: {descriptors: {reflection: true, refresh: 5m}}")
		ready := step.Start()[0]
		h := step.Wrap(proxy.New(proxy.Options{}))
		status := func(want int) {
			t.Helper()
			r := httptest.NewRequest("GET", "/orders/7", nil)
			x := &gateway.Exchange{Start: time.Now(), Scheme: "http", Cluster: to, Upstream: "orders"}
			r = gateway.WithExchange(r, x)
			x.Request = r
			w := httptest.NewRecorder()
			if h.ServeHTTP(w, r); w.Code != want {
				t.Errorf("%d, want %d: %s", w.Code, want, w.Body)
			}
		}
		asked := func(d time.Duration, least, most int) {
			t.Helper()
			<-time.After(d)
			if n := to.askedSince(); n < least || n > most {
				t.Errorf("asked %d times in %s, want %d to %d", n, d, least, most)
			}
		}

		asked(60*time.Second, 5, 8) // 1, 2, 4 ... seconds apart: nobody is there
		status(http.StatusServiceUnavailable)
		select {
		case <-ready:
			t.Error("it is ready without an answer")
		default:
		}
		to.deploy(withoutOrder())
		asked(2*time.Second, 1, 1) // because the endpoints have changed
		<-ready
		status(http.StatusMethodNotAllowed) // only DELETE and PATCH are there
		asked(4*time.Minute, 0, 0)
		asked(2*time.Minute, 1, 1) // because of refresh
		to.deploy(ordersFiles())
		asked(2*time.Second, 1, 1)
		status(http.StatusOK)
		to.deploy(nil)
		asked(90*time.Second, 5, 9)
		status(http.StatusOK) // by the last answer
		to.deploy(withoutOrder())
		asked(2*time.Second, 1, 1)
		status(http.StatusMethodNotAllowed) // only DELETE and PATCH are there
		if err := scope.Close(); err != nil {
			t.Error(err)
		}
		asked(time.Hour, 0, 0)
	})
}
