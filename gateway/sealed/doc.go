// Package sealed keeps sessions in the browsers that they belong to: as cookies
// that only this gateway can read or make.
//
//	keys, err := sealed.NewKeyring(secrets, "session of orders")
//	jar := sealed.Jar{Name: "__Host-pithead", Secure: true}
//	err = jar.Write(w.Header(), r.Header, keys.Seal(plain), maxAge)
//	...
//	text, ok := jar.Read(r.Header)
//	plain, err := keys.Open(text)
//
// What cannot be in a cookie, such as that a session has been ended elsewhere, is
// in a Memory, which is bounded and this process's alone.
package sealed
