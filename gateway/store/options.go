package store

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Options say where Redis is.
type Options struct {
	Addresses []string // of the server, of the sentinels, or of some nodes of the cluster
	Cluster   bool
	Master    string // the name that sentinels know it by; "" if there are none

	Username, Password                 string
	SentinelUsername, SentinelPassword string
	TLS                                *tls.Config // nil is none
	Database                           int
	PoolSize                           int           // connections to each server
	Timeout                            time.Duration // of a question, all of it included
	Prefix                             string        // of all keys
}

// dialTimeout is how long a connection may take to come about. It does so beside the
// questions, which wait no longer for it than for anything else.
const dialTimeout = time.Second

// Name is what metrics and logs call the store.
func (o *Options) Name() string {
	name := strings.Join(o.Addresses, ",")
	if o.Master != "" {
		name = o.Master + "@" + name
	}
	if o.Database > 0 {
		name += fmt.Sprintf("/%d", o.Database)
	}
	return name
}

// connect makes a client. Nothing is tried twice: who waits has 20 ms, and the breaker
// is to hear of each failure. It stays with the second version of the protocol, which all
// servers and proxies speak.
func (o *Options) connect() redis.UniversalClient {
	logging.Disable() // what it would print on stderr is in its errors as well
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch {
	case o.Cluster:
		return redis.NewClusterClient(&redis.ClusterOptions{
			Addrs: o.Addresses, Username: o.Username, Password: o.Password, TLSConfig: o.TLS, PoolSize: o.PoolSize,
			MaxRedirects: 2, MaxRetries: -1, DialTimeout: dialTimeout, DialerRetries: 1, PoolTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout,
			ContextTimeoutEnabled: true, Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: quiet,
		})
	case o.Master != "":
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName: o.Master, SentinelAddrs: o.Addresses, SentinelUsername: o.SentinelUsername, SentinelPassword: o.SentinelPassword,
			Username: o.Username, Password: o.Password, DB: o.Database, TLSConfig: o.TLS, PoolSize: o.PoolSize,
			MaxRetries: -1, DialTimeout: dialTimeout, DialerRetries: 1, PoolTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout,
			ContextTimeoutEnabled: true, Protocol: 2, DisableIdentity: true,
		})
	}
	return redis.NewClient(&redis.Options{
		Addr: o.Addresses[0], Username: o.Username, Password: o.Password, DB: o.Database, TLSConfig: o.TLS, PoolSize: o.PoolSize,
		MaxRetries: -1, DialTimeout: dialTimeout, DialerRetries: 1, PoolTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout,
		ContextTimeoutEnabled: true, Protocol: 2, DisableIdentity: true, MaintNotificationsConfig: quiet,
	})
}
