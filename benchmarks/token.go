package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync"
	"time"
)

// tokenSecret signs tokens; it also stands in configs/pithead.yaml. It protects nothing.
const tokenSecret = "a secret for benchmarks and for nothing else"

// introspection is what the origin says of every token.
const introspection = `{"active":true,"sub":"ada","aud":"bench","scope":"read"}`

// bearerToken is a JWT of the size that access tokens usually have. All requests of a process
// have the same one, as those of one caller would.
var bearerToken = sync.OnceValue(func() string {
	now := time.Now().Unix()
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	text := part(`{"alg":"HS256","typ":"JWT","kid":"bench"}`) + "." + part(fmt.Sprintf(
		`{"iss":"https://id.example.com","aud":"bench","sub":"ada","iat":%d,"exp":%d,"email":"ada@example.com","groups":["staff","orders","billing"],"scope":"read write"}`,
		now, now+12*3600))
	mac := hmac.New(sha256.New, []byte(tokenSecret))
	_, _ = mac.Write([]byte(text)) // never fails
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
})
