package main

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// curl asks for one URL and writes the body, or ends with status 22 for an
// error answer, as `curl --fail-with-body` does.
func curl() {
	flags := flag.NewFlagSet("curl", flag.ExitOnError)
	header := http.Header{}
	flags.Func("H", "`Name: value`", func(line string) error {
		name, value, _ := strings.Cut(line, ":")
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
		return nil
	})
	_ = flags.Parse(os.Args[1:]) // it exits on an error
	status, err := curlGet(flags.Arg(0), header, os.Stdout)
	switch {
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "curl:", err)
		os.Exit(7)
	case status >= 400:
		os.Exit(22)
	}
}

func curlGet(url string, header http.Header, out io.Writer) (status int, err error) {
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	req, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	req.Header = header
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(out, resp.Body)
	return resp.StatusCode, err
}
