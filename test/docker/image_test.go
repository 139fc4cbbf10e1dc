// Package docker_test checks what is in docker/ without a Docker engine: the
// compose file by the library that Compose itself reads it with, the Dockerfile
// by BuildKit's parser. The image's root file system is then built by the steps
// of the Dockerfile, and the daemon is run inside it.
package docker_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// root is the root of the repository, the context of every build.
const root = "../.."

// stage is what has become of one stage of the Dockerfile: its files under dir,
// and how its program is started.
type stage struct {
	dir        string
	workdir    string
	env        map[string]string
	entrypoint []string
	cmd        []string
	user       string
}

// parse reads the Dockerfile as BuildKit would.
func parse(t *testing.T) []instructions.Stage {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "docker", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	result, err := parser.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range result.Warnings {
		t.Errorf("Dockerfile: %s", w.Short)
	}
	stages, _, err := instructions.Parse(result.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	return stages
}

// build carries out the steps of every stage. Base images are not to be had
// without a registry: the compiler and the certificate authorities come from this
// machine. A step that this test does not know fails it.
func build(t *testing.T) map[string]*stage {
	t.Helper()
	built := make(map[string]*stage)
	for _, from := range parse(t) {
		s := &stage{dir: t.TempDir(), workdir: "/", env: make(map[string]string)}
		for _, command := range from.Commands {
			if err := s.carryOut(command, built); err != nil {
				t.Fatalf("stage %s: %s: %v", from.Name, command, err)
			}
		}
		built[from.Name] = s
	}
	return built
}

func (s *stage) carryOut(command instructions.Command, built map[string]*stage) error {
	switch c := command.(type) {
	case *instructions.WorkdirCommand:
		s.workdir = c.Path
		return os.MkdirAll(s.at(c.Path), 0o755)
	case *instructions.ArgCommand:
		for _, arg := range c.Args {
			s.env[arg.Key] = arg.ValueString()
		}
		return nil
	case *instructions.CopyCommand:
		return s.copy(c, built)
	case *instructions.RunCommand:
		return s.run(c)
	case *instructions.UserCommand:
		s.user = c.User
		return nil
	case *instructions.EntrypointCommand:
		s.entrypoint = c.CmdLine
		return nil
	case *instructions.CmdCommand:
		s.cmd = c.CmdLine
		return nil
	case *instructions.ExposeCommand, *instructions.StopSignalCommand:
		return nil // they change no file
	}
	return fmt.Errorf("%T is not known here", command)
}

// at is where a path of the image lies on this machine.
func (s *stage) at(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(s.workdir, name)
	}
	return filepath.Join(s.dir, filepath.FromSlash(name))
}

func (s *stage) copy(c *instructions.CopyCommand, built map[string]*stage) error {
	for _, source := range c.SourcePaths {
		from := filepath.Join(root, source)
		if c.From != "" {
			other, ok := built[c.From]
			if !ok {
				return fmt.Errorf("no stage is named %q", c.From)
			}
			from = other.at(source)
		}
		info, err := os.Stat(from)
		if err != nil {
			return err
		}
		to := s.at(c.DestPath)
		if !info.IsDir() && strings.HasSuffix(c.DestPath, "/") {
			to = filepath.Join(to, filepath.Base(from))
		}
		if err := copyTree(from, to); err != nil {
			return err
		}
		if c.Chown == "" || os.Getuid() != 0 {
			continue // without root all files belong to the user of the image, see command
		}
		var uid, gid int
		if _, err := fmt.Sscanf(c.Chown, "%d:%d", &uid, &gid); err != nil {
			return fmt.Errorf("--chown=%s: %w", c.Chown, err)
		}
		if err := os.Chown(to, uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// run executes a RUN in the working directory of the stage. The files that it
// names by relative paths are the stage's own.
func (s *stage) run(c *instructions.RunCommand) error {
	cmd := exec.Command("sh", "-ec", strings.Join(c.CmdLine, " "))
	cmd.Dir, cmd.Env = s.at("."), os.Environ()
	for key, value := range maps.All(s.env) {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// ignored is what .dockerignore keeps out of the context.
func ignored(name string) bool {
	return name == ".bin" || name == ".git" || name == "dist" || name == "rootfs" || filepath.Base(name) == "node_modules"
}

// copyTree copies a file, or a folder's content into a folder.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir() && from == root && ignored(rel):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, info.Mode().Perm())
	})
}
