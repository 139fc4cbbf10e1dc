package build

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/upstream"
)

// A route is taken over from the snapshot before, chain and all, when everything
// that it was built from is the same:
//
//   - its block, which config takes over itself while the file stays the same;
//   - the blocks under `middleware` that it names, by fingerprint;
//   - the upstreams that it sends to or that its steps have asked for, as clusters:
//     those are kept by all of their settings;
//   - the content of every file that the settings of these blocks name;
//   - the settings of the top level that a route inherits: error pages, likewise, and
//     what is asked of its anatomy.
//
// A step has nothing else: middleware.Env holds what it may see.

// meaning says what a block means now.
type meaning struct{ block, files string } // its fingerprint, and what is in the files that its settings name

// meaningOf reads the files that value, the decoded settings of a block, names.
func meaningOf(b *config.Block, value any) meaning {
	return meaning{b.Fingerprint(), contentOf(filesIn(value))}
}

func (m meaning) same(as meaning) bool { return m == as && m.files != unknown }

// takenCluster is the cluster of the snapshot before if its block is the same one and
// all that it is made of.
func (c *compiler) takenCluster(name string, u *config.Upstream) *upstream.Cluster {
	if c.old == nil || c.old.kept[u] == nil {
		return nil
	}
	cluster := c.old.clusters[name]
	if cluster == nil || !c.scope.Share(c.old.scope, c.old.kept[u]...) {
		return nil
	}
	c.kept[u] = c.old.kept[u]
	return cluster
}

// readings are what was read of files.
type readings []reading

type reading struct {
	paths   []string
	content string
}

// same says whether the files hold what they held.
func (all readings) same() bool {
	return !slices.ContainsFunc(all, func(r reading) bool { return r.content == unknown || contentOf(r.paths) != r.content })
}

// taken is the route of the snapshot before, if it may serve r as well.
func (c *compiler) taken(r *config.Route) *compiledRoute {
	if c.old == nil || c.partial {
		return nil
	}
	rt, ok := c.old.byConfig[r]
	if !ok || !c.pagesMeaning.same(c.old.pagesMeaning) || !rt.reads.same() {
		return nil
	}
	if r.Anatomy == nil && c.cfg.Anatomy != c.old.Config.Anatomy {
		return nil
	}
	for name, cluster := range rt.asked {
		if c.clusters[name] != cluster {
			return nil
		}
	}
	for _, b := range r.Use {
		if b.Ref && !c.meanings[b.Kind].same(c.old.meanings[b.Kind]) {
			return nil
		}
	}
	rt.users.Add(1)
	return rt
}

// release lets go of the route for one snapshot.
func (r *compiledRoute) release() error {
	if r.users.Add(-1) > 0 {
		return nil
	}
	return r.scope.Close()
}

// finder finds upstreams for the steps of one route while they are built.
type finder struct {
	c     *compiler
	asked map[string]*upstream.Cluster
}

func (f *finder) upstream(name string) (gateway.Cluster, bool) {
	if name == "" {
		return nil, false
	}
	cluster, ok := f.c.clusters[name]
	f.asked[name] = cluster
	switch {
	case ok && !f.c.partial:
		return cluster, true
	case f.c.cfg.Upstreams[name] != nil || f.c.cfg.Lost("upstreams", name):
		return f.c.standIn(name), true
	}
	return nil, false // no nil *Cluster in an interface
}

// target is the upstream of the route itself; nil if it has none. What is wrong with
// its name has been reported.
func (f *finder) target(r *config.Route) gateway.Cluster {
	to, ok := f.upstream(r.To)
	if !ok && (r.To != "" || f.c.cfg.UnsureOf(r, "to")) {
		return f.c.standIn(r.To)
	}
	return to
}

var pathType = reflect.TypeFor[kind.Path]()

// filesIn are the files that settings name, each of them once.
func filesIn(value any) (paths []string) {
	if f, ok := value.(kind.Filer); ok {
		paths = f.Files()
	}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch {
		case v.Type() == pathType && v.Len() > 0:
			paths = append(paths, v.String())
		case v.Kind() == reflect.Pointer && !v.IsNil():
			walk(v.Elem())
		case v.Kind() == reflect.Struct:
			for _, field := range v.Fields() {
				walk(field)
			}
		case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case v.Kind() == reflect.Map:
			for _, key := range v.MapKeys() {
				walk(v.MapIndex(key))
			}
		}
	}
	walk(reflect.ValueOf(value))
	slices.Sort(paths)
	return slices.Compact(paths)
}

// unknown is the content of what no look at a file can tell, such as a folder to
// search in.
const unknown = "?"

// maxContent is more than any file of a middleware may hold.
const maxContent = 64 << 20

// contentOf is a hash of files, or unknown.
func contentOf(paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	h := sha256.New()
	for _, path := range paths {
		fmt.Fprintf(h, "%q ", path)
		if err := addContent(h, path); err != nil {
			return unknown
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func addContent(h io.Writer, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // to open a pipe would block
		return errors.New("no regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	n, err := io.Copy(h, io.LimitReader(file, maxContent))
	fmt.Fprintf(h, " %d\n", n)
	return cmp.Or(err, file.Close())
}
