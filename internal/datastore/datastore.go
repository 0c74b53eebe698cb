// Package datastore owns how a user writes where an etcd of others is, and that the password in it gets into no message.
package datastore

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Datastore is an etcd: where it is, and as whom one is let in. Without a user and a password nobody is asked for.
type Datastore struct {
	Endpoints          []string // without credentials
	Username, Password string
}

// Parse reads URLs that are separated by commas. All of them are for one user: one login is good for the whole etcd. Errors tell
// nothing of the text, as nobody knows what in it is a password.
func Parse(text string) (Datastore, error) {
	var d Datastore
	var login *url.Userinfo
	for i, part := range split(text) {
		address, user, err := separate(part)
		if err == nil {
			err = check(user)
		}
		if err == nil && user != nil && login != nil && *user != *login {
			err = errors.New("its user and password are not those of the endpoints before it")
		}
		if err != nil {
			return Datastore{}, fmt.Errorf("cannot use endpoint %d of the datastore: %w", i+1, err)
		}
		d.Endpoints = append(d.Endpoints, address)
		if user != nil {
			login = user
			d.Username = user.Username()
			d.Password, _ = user.Password()
		}
	}
	if len(d.Endpoints) == 0 {
		return Datastore{}, errors.New("cannot use the datastore: it has no endpoint")
	}
	return d, nil
}

// check refuses what etcd's client would take for no credentials at all.
func check(user *url.Userinfo) error {
	if user == nil {
		return nil
	}
	if password, _ := user.Password(); user.Username() == "" || password == "" {
		return errors.New("a user needs a password, and a password a user")
	}
	return nil
}

// Redact returns the endpoints for messages: without users and passwords, and nothing of what is not understood.
func Redact(text string) string {
	var clean []string
	for _, part := range split(text) {
		address, _, err := separate(part)
		if err != nil {
			return "an address that is not understood" // a comma in a password: its other half may look like an endpoint
		}
		clean = append(clean, address)
	}
	return strings.Join(clean, ",")
}

// Passwords are those in a text. Of what is not understood, all may be one.
func Passwords(text string) (found []string) {
	for _, part := range split(text) {
		_, user, err := separate(part)
		if err != nil {
			found = append(found, part)
			continue
		}
		if password, ok := user.Password(); ok {
			found = append(found, password)
		}
	}
	return found
}

func split(text string) (parts []string) {
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return parts
}

// errNoURL is all that is said: the errors of package url quote what they do not understand.
var errNoURL = errors.New(`it is not a URL such as https://etcd.example:2379; in a user's name or password, write "," as %2C, "@" as %40, ` +
	`"/" as %2F, ":" as %3A, "?" as %3F, "#" as %23 and "%" as %25`)

// separate takes the credentials out of an endpoint. What is left has no "@": that would be a password that ended too early.
func separate(part string) (address string, user *url.Userinfo, err error) {
	address = part
	if strings.Contains(part, "://") {
		parsed, err := url.Parse(part)
		if err != nil {
			return "", nil, errNoURL
		}
		if user = parsed.User; user != nil {
			parsed.User = nil
			address = parsed.String()
		}
	}
	if strings.Contains(address, "@") {
		return "", nil, errNoURL
	}
	return address, user, nil
}
