package transcode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/bufbuild/protocompile"
	_ "google.golang.org/genproto/googleapis/api/annotations" // .proto files and descriptors may import it without bringing it
	_ "google.golang.org/genproto/googleapis/api/httpbody"    // likewise
	_ "google.golang.org/genproto/googleapis/rpc/errdetails"  // details of errors that every service may send
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// maxDescriptors bounds a set of descriptors in bytes, and the files of a
// document together.
const maxDescriptors = 16 << 20

// maxFiles bounds the number of files of a set.
const maxFiles = 5000

// Position is a place in a file, from 1; a zero Line means that only the file is
// known.
type Position struct {
	File         string
	Line, Column int
}

// String writes the place as file:line:column.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Schema is a set of descriptors that is complete: whatever a file imports is in it.
type Schema struct {
	Files *protoregistry.Files
	// Types are the messages and extensions of Files, for the contents of Any.
	Types *dynamicpb.Types

	services []protoreflect.ServiceDescriptor // sorted by name
}

// Services are the services of the set, sorted by name.
func (s *Schema) Services() []protoreflect.ServiceDescriptor { return s.services }

// ReadSet reads a file with a FileDescriptorSet, as `protoc
// --include_imports --descriptor_set_out` and `buf build` write it.
func ReadSet(path string) (*Schema, error) {
	raw, err := readBounded(path, maxDescriptors)
	if err != nil {
		return nil, err
	}
	s, err := ParseSet(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// ParseSet is ReadSet for bytes.
func ParseSet(raw []byte) (*Schema, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("no FileDescriptorSet: %w", err)
	}
	return newSchema(set.File)
}

// newSchema links files. What they import and nobody has brought is taken from
// the well-known types and Google's common ones.
func newSchema(files []*descriptorpb.FileDescriptorProto) (*Schema, error) {
	if len(files) == 0 {
		return nil, errors.New("holds no descriptors")
	}
	have := make(map[string]bool, len(files))
	all := make([]*descriptorpb.FileDescriptorProto, 0, len(files))
	for _, f := range files {
		if !have[f.GetName()] {
			have[f.GetName()] = true
			all = append(all, f)
		}
	}
	for i := 0; i < len(all); i++ { // grows while it runs
		for _, name := range all[i].GetDependency() {
			if have[name] {
				continue
			}
			fd, err := protoregistry.GlobalFiles.FindFileByPath(name)
			if err != nil {
				return nil, fmt.Errorf("%s imports %q, which is not in the set; write it with all imports", all[i].GetName(), name)
			}
			have[name] = true
			all = append(all, protodesc.ToFileDescriptorProto(fd))
		}
	}
	if len(all) > maxFiles {
		return nil, fmt.Errorf("%d files are more than %d", len(all), maxFiles)
	}
	linked, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: all})
	if err != nil {
		return nil, fmt.Errorf("link descriptors: %w", err)
	}
	s := &Schema{Files: linked, Types: dynamicpb.NewTypes(linked)}
	linked.RangeFiles(func(fd protoreflect.FileDescriptor) bool {
		for i := range fd.Services().Len() {
			s.services = append(s.services, fd.Services().Get(i))
		}
		return true
	})
	slices.SortFunc(s.services, func(a, b protoreflect.ServiceDescriptor) int { return cmp.Compare(a.FullName(), b.FullName()) })
	return s, nil
}

// CompileProtos compiles .proto files. Each is in one of the import paths; without
// any, the folders of the files are the import paths. Errors tell file, line and
// column. read, if not nil, is told of each file that was opened.
func CompileProtos(ctx context.Context, files, importPaths []string, read func(path string)) (*Schema, error) {
	names, importPaths, err := importNames(files, importPaths)
	if err != nil {
		return nil, err
	}
	sources := &protocompile.SourceResolver{ImportPaths: importPaths, Accessor: func(path string) (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err == nil && read != nil {
			read(path)
		}
		return f, err
	}}
	common := protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
		fd, err := protoregistry.GlobalFiles.FindFileByPath(path)
		return protocompile.SearchResult{Desc: fd}, err
	})
	compiler := protocompile.Compiler{
		Resolver:       protocompile.CompositeResolver{sources, common},
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	var all []*descriptorpb.FileDescriptorProto
	seen := map[string]bool{}
	var collect func(fd protoreflect.FileDescriptor)
	collect = func(fd protoreflect.FileDescriptor) {
		if seen[fd.Path()] {
			return
		}
		seen[fd.Path()] = true
		imports := fd.Imports()
		for i := range imports.Len() {
			collect(imports.Get(i).FileDescriptor)
		}
		all = append(all, protodesc.ToFileDescriptorProto(fd))
	}
	for _, fd := range compiled {
		collect(fd)
	}
	return newSchema(all)
}

// importNames are the names by which the files are imported.
func importNames(files, importPaths []string) (names, paths []string, err error) {
	paths = importPaths
	if len(paths) == 0 {
		for _, file := range files {
			if dir := filepath.Dir(file); !slices.Contains(paths, dir) {
				paths = append(paths, dir)
			}
		}
	}
	for _, file := range files {
		found := false
		for _, dir := range paths {
			rel, err := filepath.Rel(dir, file)
			if found = err == nil && filepath.IsLocal(rel); found {
				names = append(names, filepath.ToSlash(rel))
				break
			}
		}
		if !found {
			return nil, nil, fmt.Errorf("%s is in none of the import paths", file)
		}
	}
	return names, paths, nil
}

// Method finds a method by `package.Service/Method` or `package.Service.Method`.
func (s *Schema) Method(name string) (protoreflect.MethodDescriptor, bool) {
	full := protoreflect.FullName(name)
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '/' {
			full = protoreflect.FullName(name[:i] + "." + name[i+1:])
			break
		}
	}
	d, err := s.Files.FindDescriptorByName(full)
	if err != nil {
		return nil, false
	}
	md, ok := d.(protoreflect.MethodDescriptor)
	return md, ok
}

// positionOf is where a descriptor was written, as far as its set says.
func positionOf(d protoreflect.Descriptor) Position {
	p := Position{File: d.ParentFile().Path()}
	if loc := d.ParentFile().SourceLocations().ByDescriptor(d); loc.EndLine > 0 || loc.EndColumn > 0 {
		p.Line, p.Column = loc.StartLine+1, loc.StartColumn+1
	}
	return p
}

// pathOf is the path of a call of the method: /package.Service/Method.
func pathOf(md protoreflect.MethodDescriptor) string {
	return "/" + string(md.Parent().FullName()) + "/" + string(md.Name())
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return raw, nil
}
