// Package browser opens pages of the gateway in a real browser, Chromium. Its tests run by
//
//	make browser
package browser
