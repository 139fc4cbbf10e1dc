package kind

// Path is the name of a file or a folder. In a configuration it is relative to
// the file that it stands in, even where another file inherits it, so the
// decoder makes it whole.
type Path string
