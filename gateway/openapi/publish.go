package openapi

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/pithead/pithead/gateway/transcode"
)

// Publish is the document in one piece, for clients: what it refers to in other files
// is among its components. What its operator says of security stays as it is.
func (c *Contract) Publish([]string) (text []byte, err error) {
	defer func() {
		if v := recover(); v != nil { // as when it was read
			text, err = nil, fmt.Errorf("%s: the document cannot be written: %v", c.Document.File, v)
		}
	}()
	doc, err := transcode.ReadDocument(c.Document.File) // of its own, since it is changed
	if err != nil {
		return nil, err
	}
	doc.T.InternalizeRefs(context.Background(), nil)
	return json.MarshalIndent(doc.T, "", "  ")
}
