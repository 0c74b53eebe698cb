package controlplane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/seed-192657fa/rdd/internal/private"
)

const (
	caValidity   = 10 * 365 * 24 * time.Hour
	leafValidity = 365 * 24 * time.Hour

	adminUser = "rdd-admin"
)

// credentials are the keys and certificates of an instance. ECDSA throughout: an RSA key costs half a second to make.
type credentials struct {
	ca, serving, admin keyPair
	// serviceAccountKey signs service account tokens. It outlives restarts, and so do the tokens.
	serviceAccountKey *ecdsa.PrivateKey
}

// keyPair is a certificate and its key, also as PEM.
type keyPair struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
}

// loadCredentials reads what is in dir, and makes anew what is missing or near its end. A file that cannot be understood is
// an error, not a reason to make a new one: tokens and kubeconfigs in use depend on them.
func loadCredentials(dir string, now time.Time) (*credentials, error) {
	if err := private.MkdirAll(dir); err != nil {
		return nil, err
	}
	var c credentials
	var err error
	if c.ca, err = loadPair(dir, "ca", now, nil, caTemplate); err != nil {
		return nil, err
	}
	if c.serving, err = loadPair(dir, "serving", now, &c.ca, servingTemplate); err != nil {
		return nil, err
	}
	if c.admin, err = loadPair(dir, "admin", now, &c.ca, adminTemplate); err != nil {
		return nil, err
	}
	if c.serviceAccountKey, _, err = loadKey(filepath.Join(dir, "service-account.key")); err != nil {
		return nil, err
	}
	return &c, nil
}

// loadPair reads NAME.crt and NAME.key. A certificate that is missing, does not fit its key or issuer, or has less than half
// of its time left is issued again, for the same key.
func loadPair(dir, name string, now time.Time, issuer *keyPair, template func(time.Time) *x509.Certificate) (keyPair, error) {
	key, keyPEM, err := loadKey(filepath.Join(dir, name+".key"))
	if err != nil {
		return keyPair{}, err
	}
	certFile := filepath.Join(dir, name+".crt")
	certPEM, err := os.ReadFile(certFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return keyPair{}, fmt.Errorf("cannot read certificate: %w", err)
	}
	cert := parseCertificate(certPEM)
	if !stillGood(cert, key, issuer, now) {
		if cert, certPEM, err = issue(template(now), key, issuer); err != nil {
			return keyPair{}, fmt.Errorf("cannot issue certificate %s: %w", certFile, err)
		}
		if err := writePrivateFile(certFile, certPEM); err != nil {
			return keyPair{}, err
		}
	}
	return keyPair{cert: cert, key: key, certPEM: certPEM, keyPEM: keyPEM}, nil
}

// loadKey reads an ECDSA key, or makes one where there is none.
func loadKey(path string) (*ecdsa.PrivateKey, []byte, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read key: %w", err)
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, nil, fmt.Errorf("cannot read key %s: it is not PEM; restore it, or remove it to have a new one made", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read key %s: %w; restore it, or remove it to have a new one made", path, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("cannot use key %s: it is %T, not ECDSA", path, parsed)
	}
	return key, content, nil
}

func makeKey(path string) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot encode a key: %w", err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return key, content, writePrivateFile(path, content)
}

func parseCertificate(content []byte) *x509.Certificate {
	block, _ := pem.Decode(content)
	if block == nil {
		return nil
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return cert
}

func stillGood(cert *x509.Certificate, key *ecdsa.PrivateKey, issuer *keyPair, now time.Time) bool {
	if cert == nil || !key.PublicKey.Equal(cert.PublicKey) {
		return false
	}
	if issuer != nil && cert.CheckSignatureFrom(issuer.cert) != nil {
		return false
	}
	half := cert.NotAfter.Sub(cert.NotBefore) / 2
	return now.After(cert.NotBefore) && now.Before(cert.NotBefore.Add(half))
}

func issue(template *x509.Certificate, key *ecdsa.PrivateKey, issuer *keyPair) (*x509.Certificate, []byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template.SerialNumber = serial
	parent, signer := template, crypto.Signer(key)
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func caTemplate(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: "rdd"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caValidity),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
}

func servingTemplate(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: "rdd-apiserver"},
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(leafValidity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
}

// adminTemplate puts the admin into system:masters, which no RBAC object can take away: whoever can read the kubeconfig owns
// the instance anyway, and must not be able to lock himself out.
func adminTemplate(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: adminUser, Organization: []string{user.SystemPrivilegedGroup}},
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(leafValidity),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}
