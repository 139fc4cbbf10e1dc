package build

import (
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/middleware"
)

// errorPages reads the pages of the top level.
func (c *compiler) errorPages() {
	b := c.cfg.ErrorPages
	if b == nil {
		return
	}
	c.judge(b, func(b *config.Block) error {
		var pages middleware.ErrorPagesConfig
		err := b.Decode(&pages)
		if err == nil {
			c.pagesMeaning = meaningOf(b, pages)
			c.pages, err = middleware.NewErrorPages(pages)
		}
		return err
	})
}
