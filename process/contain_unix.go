//go:build unix

package process

// scans bounds how often marked looks again on a machine where processes end all the time.
const scans = 16

// marked returns the living processes that carry mark. Whoever ends in the meantime may have started somebody whom the look
// did not list: it looks again, until all that it meets were there when it looked.
func marked(mark string) (found []Identity, err error) {
	if mark == "" {
		return nil, nil
	}
	zombies := map[Identity]bool{}
	for range scans {
		var settled bool
		if found, settled, err = scan(mark, zombies); err != nil || settled {
			break
		}
	}
	return found, err
}
