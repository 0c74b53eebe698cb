package datastore

import (
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Datastore{
		"http://127.0.0.1:2379":              {Endpoints: []string{"http://127.0.0.1:2379"}},
		"127.0.0.1:2379, localhost:2379":     {Endpoints: []string{"127.0.0.1:2379", "localhost:2379"}},
		"unix:///run/etcd.sock":              {Endpoints: []string{"unix:///run/etcd.sock"}},
		" https://a:2379 ,\thttps://b:2379,": {Endpoints: []string{"https://a:2379", "https://b:2379"}},
		"https://me:s%40%2Cx@a:2379,https://b:2379,https://me:s%40%2Cx@c:2379": {
			Endpoints: []string{"https://a:2379", "https://b:2379", "https://c:2379"}, Username: "me", Password: "s@,x",
		},
	} {
		if got, err := Parse(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for text, says := range map[string]string{
		"":                                       "no endpoint",
		" , ":                                    "no endpoint",
		"https://me@a":                           "endpoint 1 of the datastore: a user needs a password",
		"https://:x@a":                           "a user needs a password",
		"https://me:secret@a,https://me:other@b": "endpoint 2 of the datastore: its user and password",
		"https://me:secret@a,https://you:other@b": "endpoint 2 of the datastore: its user and password",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// TestNotUnderstood has passwords with what must be percent-encoded: none is used, none is shown, and each counts as one. It fails
// when what does not parse is passed over, and when the error of package url is told.
func TestNotUnderstood(t *testing.T) {
	for _, text := range []string{
		"https://me:secret%@a:2379", "https://me:secret/x@a:2379", "https://me:1/secret@a:2379", "https://me:1?secret@a:2379",
		"https://me:1#secret@a:2379", "https://me:x@b/secret@a:2379", "https://me:secret,x@a:2379", "https://me:1,secret@a:2379",
		"me:secret@a:2379", "https://ok:2379,https://me:secret x@a b:2379",
	} {
		_, err := Parse(text)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
		if clean := Redact(text); strings.Contains(clean, "secret") || clean == "" {
			t.Errorf("%q is shown as %q", text, clean)
		}
		if found := strings.Join(Passwords(text), " "); !strings.Contains(found, "secret") {
			t.Errorf("%q has the passwords %q", text, found)
		}
	}
}

func TestRedact(t *testing.T) {
	const text = "https://me:secret@a:2379, http://b:2379,https://me@c:2379"
	if got, want := Redact(text), "https://a:2379,http://b:2379,https://c:2379"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := Passwords(text); !reflect.DeepEqual(got, []string{"secret"}) {
		t.Errorf("passwords %q", got)
	}
}

// FuzzParse: whatever is given, its password is in no error and in no redacted text.
func FuzzParse(f *testing.F) {
	f.Add("https://", "a:2379")
	f.Add("x", "@,://@:")
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "s3cr3t-of-mine"
		text := before + "me:" + secret + "@" + after
		if strings.Contains(before+after, secret) {
			return // it would be outside a user's place too
		}
		_, err := Parse(text)
		if clean := Redact(text); strings.Contains(clean, secret) || err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%q: %q, %v", text, clean, err)
		}
	})
}
