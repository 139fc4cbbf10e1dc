package config

import (
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

var (
	secretType   = reflect.TypeFor[gateway.Secret]()
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[kind.Size]()
	pathType     = reflect.TypeFor[kind.Path]()
	prefixType   = reflect.TypeFor[netip.Prefix]()
	addrType     = reflect.TypeFor[netip.Addr]()

	wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	decimal     = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
	likeNumber  = regexp.MustCompile(`^[-+]?[0-9.][0-9a-fA-FxXoO_.:eE+-]*$`)
)

// setScalar reads the text of n as what v is. The type decides, never the look
// of the text: YAML's own guesses turn 010 into 8 and no into false.
func setScalar(v reflect.Value, n *node) error {
	switch v.Type() {
	case durationType:
		return setDuration(v, n.text)
	case prefixType:
		return setPrefix(v, n.text)
	case addrType:
		addr, err := netip.ParseAddr(n.text)
		if err != nil {
			return fmt.Errorf("%q is no IP address", n.text)
		}
		v.Set(reflect.ValueOf(addr))
		return nil
	}
	if text, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		return text.UnmarshalText([]byte(n.text))
	}
	if v.Kind() == reflect.String {
		v.SetString(n.text)
		if v.Type() == pathType && n.text != "" && !filepath.IsAbs(n.text) {
			v.SetString(filepath.Join(n.file.dir(), n.text))
		}
		return nil
	}
	if n.quoted && !n.expanded {
		return fmt.Errorf("want %s, not text in quotes", words(v.Type()))
	}
	switch v.Kind() {
	case reflect.Bool:
		return setBool(v, n.text)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return setInt(v, n.text)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return setUint(v, n.text)
	case reflect.Float32, reflect.Float64:
		return setFloat(v, n.text)
	}
	return fmt.Errorf("a setting of type %s cannot be written in YAML", v.Type())
}

func setDuration(v reflect.Value, text string) error {
	if decimal.MatchString(text) {
		return fmt.Errorf("the duration %s has no unit; write for example %sms, %ss or %sm", text, text, text, text)
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no duration; write for example 250ms, 5s or 1h30m", text)
	case d < 0:
		return fmt.Errorf("the duration %s is negative", text)
	}
	v.SetInt(int64(d))
	return nil
}

// setPrefix refuses host bits because 10.1.2.3/8 is as often a typo for /32 as
// it is meant for 10.0.0.0/8.
func setPrefix(v reflect.Value, text string) error {
	prefix, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case err != nil:
		return fmt.Errorf("%q is no network; write for example 10.0.0.0/8 or 2001:db8::/32", text)
	case prefix.Addr().Is4In6():
		return fmt.Errorf("%s maps an IPv4 network into IPv6; write it as IPv4", text)
	case prefix != prefix.Masked():
		return fmt.Errorf("%s has bits set beyond its length; did you mean %s?", text, prefix.Masked())
	}
	v.Set(reflect.ValueOf(prefix))
	return nil
}

func setBool(v reflect.Value, text string) error {
	switch text {
	case "true", "false":
		v.SetBool(text == "true")
		return nil
	}
	switch strings.ToLower(text) {
	case "yes", "on", "y", "true", "1":
		return fmt.Errorf("%q is no truth value; write true", text)
	case "no", "off", "n", "false", "0":
		return fmt.Errorf("%q is no truth value; write false", text)
	}
	return fmt.Errorf("%q is no truth value; write true or false", text)
}

func checkWhole(text string) error {
	switch {
	case wholeNumber.MatchString(text):
		return nil
	case likeNumber.MatchString(text):
		return fmt.Errorf("%s is no decimal number; write digits only, without a leading zero", text)
	}
	return fmt.Errorf("%q is no whole number", text)
}

func setInt(v reflect.Value, text string) error {
	if err := checkWhole(text); err != nil {
		return err
	}
	n, err := strconv.ParseInt(text, 10, v.Type().Bits())
	if err != nil {
		return fmt.Errorf("%s is too large a number", text)
	}
	v.SetInt(n)
	return nil
}

func setUint(v reflect.Value, text string) error {
	if err := checkWhole(text); err != nil {
		return err
	}
	n, err := strconv.ParseUint(text, 10, v.Type().Bits())
	switch {
	case strings.HasPrefix(text, "-"):
		return fmt.Errorf("%s is negative", text)
	case err != nil:
		return fmt.Errorf("%s is too large a number", text)
	}
	v.SetUint(n)
	return nil
}

func setFloat(v reflect.Value, text string) error {
	if !decimal.MatchString(text) {
		return fmt.Errorf("%q is no decimal number; write for example 0.5", text)
	}
	f, err := strconv.ParseFloat(text, v.Type().Bits())
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%s is too large a number", text)
	}
	v.SetFloat(f)
	return err
}

// words says what a setting of a type holds, for messages and documentation.
func words(t reflect.Type) string {
	switch t {
	case durationType:
		return "a duration"
	case sizeType:
		return "a size"
	case prefixType:
		return "a network"
	case addrType:
		return "an IP address"
	case secretType:
		return "a secret"
	case pathType:
		return "a path"
	case blockType:
		return "a block"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return words(t.Elem())
	case reflect.Struct:
		if isText(t) && len(fieldsOf(t)) > 0 {
			return "text or a map of settings"
		} else if !isText(t) {
			return "a map of settings"
		}
	case reflect.Slice:
		if !isText(t) {
			return "a list"
		}
	case reflect.Map:
		return "a map"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if !isText(t) {
			return "a whole number"
		}
	}
	return "text"
}
