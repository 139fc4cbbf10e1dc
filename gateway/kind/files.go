package kind

// Filer is for configuration structs that name files which are read when the
// configuration is built, and which change on their own, such as lists of keys.
// The server watches them: a change reloads the configuration, all or nothing.
type Filer interface {
	// Files are the paths of the files, whole ones.
	Files() []string
}
