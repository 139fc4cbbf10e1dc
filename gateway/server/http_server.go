package server

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/pithead/pithead/gateway/config"
)

// newHTTPServer carries over the settings of a listener. ReadTimeout and
// WriteTimeout stay off because they would end streams; deadlines of bodies
// and answers are kept per request.
func newHTTPServer(l *config.Listener, log *slog.Logger) *http.Server {
	return &http.Server{
		ReadHeaderTimeout: l.Timeouts.Header,
		IdleTimeout:       l.Timeouts.Idle,
		MaxHeaderBytes:    int(l.Limits.HeaderBytes),
		Protocols:         protocolsOf(l),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: l.Limits.Streams,
			// net/http's own choices let a client pin megabytes a stream.
			MaxReadFrameSize:              16 << 10,
			MaxReceiveBufferPerStream:     64 << 10,
			MaxReceiveBufferPerConnection: 1 << 20,
			MaxDecoderHeaderTableSize:     4096,
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
			WriteByteTimeout:              30 * time.Second,
		},
		// OPTIONS * must pass the same policies as everything else.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// protocolsOf translates the words of the configuration.
func protocolsOf(l *config.Listener) *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(slices.Contains(l.Protocols, "h1"))
	p.SetHTTP2(slices.Contains(l.Protocols, "h2"))
	p.SetUnencryptedHTTP2(slices.Contains(l.Protocols, "h2c"))
	return p
}

// listenerTLS asks for the current certificates at each handshake, so that a
// reload changes them without touching a socket. Session tickets are those of
// the front and outlive a reload: crypto/tls rotates their keys, and as long as
// no client certificates are asked for, a resumed session proves nothing that a
// reload could have withdrawn. Where they are, there are no tickets (CVE-2025-68121),
// and where settings differ by host, each of them has tickets of its own.
func listenerTLS(current func() (*tls.Config, error)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			conf, err := current()
			if err != nil || conf == nil || conf.GetConfigForClient == nil {
				return conf, err
			}
			return conf.GetConfigForClient(hello) // crypto/tls would not ask it a second time
		},
	}
}
