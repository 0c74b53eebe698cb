package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWhatLooksLikeASecretIsRemoved(t *testing.T) {
	r := NewRedactor([]string{"hunter2!", "two\nlines-of-a-long-secret", "no"})
	for text, want := range map[string]string{
		"it is hunter2! indeed":                                                    "it is REMOVED indeed",
		"aHVudGVyMiE= in base64":                                                   "REMOVED in base64",
		"%q hunter2%21":                                                            "%q REMOVED",
		"only lines-of-a-long-secret":                                              "only REMOVED",
		"no, that is too short to be removed":                                      "no, that is too short to be removed",
		"password: swordfish":                                                      "password: REMOVED",
		`{"apiKey":"a b\"c","x":1}`:                                                `{"apiKey":REMOVED,"x":1}`,
		"DB_PASSWORD=abc next":                                                     "DB_PASSWORD=REMOVED next",
		"--token=abc.def --verbose":                                                "--token=REMOVED --verbose",
		"Authorization: Bearer abcdefgh":                                           "Authorization: Bearer REMOVED",
		"https://me:pw@example.com/x":                                              "https://me:REMOVED@example.com/x",
		"eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl":                                       "REMOVED",
		"client-key-data: LS0tLS1CRUdJTg==":                                        "client-key-data: REMOVED",
		"resourceVersion: \"12\"\nkind: Secret\n":                                  "resourceVersion: \"12\"\nkind: Secret\n",
		"level=INFO msg=\"token renewed\" took=3ms":                                "level=INFO msg=\"token renewed\" took=3ms",
		"echo ghp_0123456789abcdefABCDEF0123456789abcd > x":                        "echo REMOVED > x",
		"github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz":                         "REMOVED",
		"x=glpat-abcdefghij0123456789.":                                            "x=REMOVED.",
		"xoxb-1234567890-abcdefghij":                                               "REMOVED",
		"aws AKIAIOSFODNN7EXAMPLE us-east-1":                                       "aws REMOVED us-east-1",
		"OPENAI=sk-proj-abcdefghijklmnopqrstuvwxyz0123":                            "OPENAI=REMOVED",
		"sk-ssh-ed25519@openssh.com, sk-ecdsa-sha2-nistp256@x":                     "sk-ssh-ed25519@openssh.com, sk-ecdsa-sha2-nistp256@x",
		"curl -fsSL -u me:swordfish https://x":                                     "curl -fsSL -u me:REMOVED https://x",
		"curl --user 'me:sword' https://x":                                         "curl --user 'me:REMOVED' https://x",
		"docker run -u 1000:1000 image":                                            "docker run -u 1000:1000 image",
		"docker login -u me -p swordfish ghcr.io":                                  "docker login -u me -p REMOVED ghcr.io",
		"docker login --password sword-fish ghcr.io":                               "docker login --password REMOVED ghcr.io",
		"echo swordfish | docker login -u me --password-stdin":                     "echo REMOVED | docker login -u me --password-stdin",
		"mysql -u root -pswordfish db":                                             "mysql -u root -pREMOVED db",
		"mysql -u root -p db; mkdir -p /a":                                         "mysql -u root -p db; mkdir -p /a",
		"ssh -p 22 host; docker run -p 80:80 x":                                    "ssh -p 22 host; docker run -p 80:80 x",
		"ssh me@login -p 22":                                                       "ssh me@login -p 22",
		"sshpass -p swordfish ssh x":                                               "sshpass -p REMOVED ssh x",
		"echo 'root:swordfish' | sudo chpasswd":                                    "echo 'root:REMOVED | sudo chpasswd",
		"chpasswd <<<root:swordfish":                                               "chpasswd <<<root:REMOVED",
		"echo a: b | tee x":                                                        "echo a: b | tee x",
		"-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\nrest": "REMOVED\nrest",
	} {
		if got := string(r.Clean([]byte(text))); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// FuzzClean: a secret that is known is nowhere in what is left, whatever is around it, and cleaning twice changes nothing of that.
func FuzzClean(f *testing.F) {
	f.Add("before ", "a-secret", " after")
	f.Add("token: ", "x\ny\nzzzzzzz", "")
	f.Add(`{"a":"`, `q"uo\te`, `"}`)
	f.Fuzz(func(t *testing.T, before, secret, after string) {
		if len(secret) < shortest || strings.Contains(Removed, secret) || strings.Contains(secret, Removed) {
			return
		}
		r := NewRedactor([]string{secret})
		got := string(r.Clean([]byte(before + secret + after)))
		// What replaces it may, with what is around it, happen to spell it again.
		if strings.Contains(strings.ReplaceAll(got, Removed, "\x00"), secret) && !strings.Contains(before+"\x00"+after, secret) {
			t.Errorf("%q is still in %q", secret, got)
		}
	})
}

func TestABundleIsClean(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "big.log")
	const limit = 64 << 10
	line := strings.Repeat("x", 1023) + "\n"
	if err := os.WriteFile(log, []byte("hunter2!\n"+strings.Repeat(line, limit/len(line))+"the end: hunter2!\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	w := NewWriter(&archive, "top", time.Unix(0, 0), NewRedactor([]string{"hunter2!"}))
	w.fileBytes = limit
	for _, err := range []error{
		w.Add("a/hunter2!.txt", []byte("say hunter2!")), w.AddFile("big.log", log), w.AddFile("gone.log", filepath.Join(dir, "gone")), w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	files := map[string]string{}
	unzipped, err := gzip.NewReader(&archive)
	if err != nil {
		t.Fatal(err)
	}
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = string(content)
	}
	if len(files) != 3 || files["top/a/REMOVED.txt"] != "say REMOVED" || !strings.Contains(files["top/gone.log.error"], "no such file") {
		t.Errorf("files: %d, %q", len(files), files["top/a/REMOVED.txt"])
	}
	if big := files["top/big.log"]; !strings.HasPrefix(big, "(the first ") || !strings.HasSuffix(big, "\nthe end: REMOVED\n") || len(big) > limit+100 {
		t.Errorf("the big file has %d bytes and begins %.60q", len(big), big)
	}
}
