package middleware

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/store"
)

// What to do while the store does not answer, for what is safer refused than guessed.
const (
	onErrorLocal  = "local"  // go on with what this gateway knows
	onErrorClosed = "closed" // refuse
)

// storePause is when to try again what needed a store that was away: it is looked for all the time.
const storePause = time.Second

// RedisConfig says where a Redis or Valkey is and how the gateway proves itself to it. Blocks with the same settings
// share its connections, over reloads as well.
type RedisConfig struct {
	// Address is the server, as `10.0.0.5:6379`; or the sentinels, or some nodes of the cluster. Required.
	Address []string `yaml:"address,one,required"`
	// Master is the name by which sentinels know the master. Default: none, there are no sentinels.
	Master string `yaml:"master"`
	// Cluster says that the servers are a cluster. Default: false.
	Cluster bool `yaml:"cluster"`
	// Username is that of an ACL. Default: the default user.
	Username string `yaml:"username"`
	// Password proves it, as `${file:PATH}` best. It also hides callers in the names of keys, so all gateways must have the same. Default: none.
	Password gateway.Secret `yaml:"password"`
	// SentinelUsername is that at the sentinels. Default: the default user.
	SentinelUsername string `yaml:"sentinel_username"`
	// SentinelPassword proves it. Default: none.
	SentinelPassword gateway.Secret `yaml:"sentinel_password"`
	// Database is the number of the database. A cluster has only 0. Default: 0.
	Database int `yaml:"database"`
	// TLS is how connections are protected; `{}` trusts the system's authorities. Default: not at all.
	TLS *RedisTLS `yaml:"tls"`
	// PoolSize is how many connections there may be to each server, up to 1000. Default: 32.
	PoolSize int `yaml:"pool_size"`
	// Timeout is how long a request waits for an answer, 1ms to 1s. Default: 20ms.
	Timeout time.Duration `yaml:"timeout"`
	// Prefix is what the names of all keys begin with. Gateways with different ones share nothing. Default: pithead.
	Prefix string `yaml:"prefix"`
}

// SetDefaults is called before decoding.
func (c *RedisConfig) SetDefaults() {
	c.PoolSize, c.Timeout, c.Prefix = 32, 20*time.Millisecond, "pithead"
}

// RedisTLS says how Redis and the gateway prove themselves to each other.
type RedisTLS struct {
	// CA is a PEM file with the certificate authorities of the servers. Default: the system's.
	CA kind.Path `yaml:"ca"`
	// Cert is a PEM file with the certificate that the gateway shows, then its intermediates. Default: none.
	Cert kind.Path `yaml:"cert"`
	// Key is a PEM file with the private key of the certificate. Default: none.
	Key kind.Path `yaml:"key"`
	// ServerName is the name that the certificates of the servers must have. Default: the host of the address.
	ServerName string `yaml:"server_name"`
}

// Validate checks what needs no file.
func (c RedisConfig) Validate() error {
	var errs []error
	refuse := func(wrong bool, path, format string, args ...any) {
		if wrong {
			errs = append(errs, kind.At(path, format, args...))
		}
	}
	for i, address := range c.Address {
		host, port, err := net.SplitHostPort(address)
		n, portErr := strconv.ParseUint(port, 10, 16)
		refuse(err != nil || host == "" || portErr != nil || n == 0, fmt.Sprintf("address[%d]", i), "%q is no address; write for example 10.0.0.5:6379", address)
	}
	refuse(len(c.Address) == 0, "address", "is empty; write for example 10.0.0.5:6379")
	refuse(len(c.Address) > 1 && !c.Cluster && c.Master == "", "address", "has several servers; write cluster: true, or the name that sentinels know the master by as master")
	refuse(c.Cluster && c.Master != "", "cluster", "a cluster has no sentinels; leave master out")
	refuse(c.Cluster && c.Database != 0, "database", "a cluster has only database 0")
	refuse(c.Database < 0 || c.Database > 1_000_000, "database", "must be from 0 to 1000000")
	refuse(c.Username != "" && c.Password == "", "password", "is missing for the username")
	refuse(c.Master == "" && c.SentinelUsername != "", "sentinel_username", "is of no use without master")
	refuse(c.Master == "" && c.SentinelPassword != "", "sentinel_password", "is of no use without master")
	refuse(c.PoolSize < 1 || c.PoolSize > 1000, "pool_size", "must be from 1 to 1000")
	refuse(c.Timeout < time.Millisecond || c.Timeout > time.Second, "timeout", "must be from 1ms to 1s")
	refuse(!isKeyPrefix(c.Prefix), "prefix", "%q is no prefix; it has up to 64 letters, digits, -, _, . and :", c.Prefix)
	return errors.Join(errs...)
}

func isKeyPrefix(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == ""
}

// Validate checks that a certificate has its key.
func (c RedisTLS) Validate() error {
	if (c.Cert == "") != (c.Key == "") {
		return kind.At("", "a certificate has a cert and a key; give both or none")
	}
	return nil
}

// files are those that it names.
func (c *RedisConfig) files() []string {
	if c == nil || c.TLS == nil {
		return nil
	}
	return slices.Concat(filesOf(c.TLS.CA), filesOf(c.TLS.Cert), filesOf(c.TLS.Key))
}

// read makes the TLS configuration out of the files, whose contents it adds to all.
func (c *RedisTLS) read(all *[]string) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	var errs []error
	read := func(setting string, path kind.Path) []byte {
		text, err := kind.ReadFile(string(path), maxProof)
		if err != nil {
			errs = append(errs, kind.At("store.redis.tls."+setting, "%w", err))
		}
		*all = append(*all, setting, string(text))
		return text
	}
	if c.CA != "" {
		conf.RootCAs = x509.NewCertPool()
		if text := read("ca", c.CA); text != nil && !conf.RootCAs.AppendCertsFromPEM(text) {
			errs = append(errs, kind.At("store.redis.tls.ca", "%s holds no certificate", c.CA))
		}
	}
	if c.Cert != "" {
		cert, key := read("cert", c.Cert), read("key", c.Key)
		if pair, err := tls.X509KeyPair(cert, key); err == nil {
			conf.Certificates = []tls.Certificate{pair}
		} else if cert != nil && key != nil {
			errs = append(errs, kind.At("store.redis.tls.cert", "%w", err))
		}
	}
	return conf, errors.Join(errs...)
}

// connection finds the connections to a Redis, and their name among what is kept.
func (c *RedisConfig) connection(env Env) (name string, s *store.Redis, err error) {
	o := store.Options{
		Addresses: c.Address, Cluster: c.Cluster, Master: c.Master, Username: c.Username, Password: c.Password.Reveal(),
		SentinelUsername: c.SentinelUsername, SentinelPassword: c.SentinelPassword.Reveal(),
		Database: c.Database, PoolSize: c.PoolSize, Timeout: c.Timeout, Prefix: c.Prefix,
	}
	all := []string{fmt.Sprintf("%#v", o)} // its TLS is not there yet
	if c.TLS != nil {
		all = append(all, "tls", c.TLS.ServerName)
		if o.TLS, err = c.TLS.read(&all); err != nil {
			return "", nil, err
		}
	}
	name = "redis/" + digestOf(all...)
	s, err = keep.Get(env.Keep, name, func() (*store.Redis, error) {
		return store.New(o, env.Process.Store(o.Name()), env.Log), nil
	})
	if err != nil {
		return "", nil, kind.At("store", "%w", err)
	}
	return name, s, nil
}

// digestOf keeps secrets out of the names of what is kept.
func digestOf(texts ...string) string {
	h := sha256.New()
	for _, text := range texts {
		fmt.Fprintf(h, "%d:%s", len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// validateStore checks what is said about a store.
func validateStore(has bool, onError string) error {
	switch {
	case onError != onErrorLocal && onError != onErrorClosed:
		return kind.At("on_store_error", "%q is none of %s, %s", onError, onErrorLocal, onErrorClosed)
	case !has && onError != onErrorClosed:
		return kind.At("on_store_error", "is of no use without a store")
	}
	return nil
}
