package config

import "path/filepath"

// Path is a path that stands in field, seen from the folder of the file that
// names it; field is as for Pos.
func (c *Config) Path(field any, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.find(field).node.file.dir(), path)
}

// Refuse makes one error of what others found wrong with the configuration, in
// the order of the files; nil when that is nothing.
func (c *Config) Refuse(errs Errors) error { return c.doc.finish(c.doc.certain(errs)).asError() }
