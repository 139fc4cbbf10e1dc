package kind

import (
	"fmt"
	"io"
	"os"
)

// ReadFile reads a file that a setting names, of at most limit bytes. Others than
// regular files, such as pipes, are refused: opening or reading one may never end.
func ReadFile(path string, limit Size) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(text) > int(limit) {
		return nil, fmt.Errorf("%s is larger than %s", path, limit)
	}
	return text, nil
}
