package process

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ticksPerSecond is USER_HZ, which is 100 on every architecture that Go runs on.
const ticksPerSecond = 100

// stat is what we need of /proc/PID/stat.
type stat struct {
	pid     int
	name    string
	state   byte
	parent  int
	session int
	threads int
	start   uint64
}

// dead tells a zombie from a living process whose first thread has ended.
func (s stat) dead() bool { return (s.state == 'Z' || s.state == 'X') && s.threads <= 1 }

// parseStat reads a line of /proc/PID/stat. The name, in parentheses, may itself hold spaces, parentheses and newlines, but
// nothing behind it does.
func parseStat(line []byte) (stat, error) {
	open, shut := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || shut < open {
		return stat{}, errors.New("no name in parentheses")
	}
	fields := bytes.Fields(line[shut+1:]) // from field 3 on
	if len(fields) < 20 {
		return stat{}, errors.New("too few fields")
	}
	if state := fields[0]; len(state) != 1 || state[0]|0x20 < 'a' || state[0]|0x20 > 'z' {
		return stat{}, fmt.Errorf("the state is %q, not a letter", state)
	}
	s := stat{name: string(line[open+1 : shut]), state: fields[0][0]}
	var errs [5]error
	s.pid, errs[0] = strconv.Atoi(string(bytes.TrimSpace(line[:open])))
	s.parent, errs[1] = strconv.Atoi(string(fields[1]))
	s.session, errs[2] = strconv.Atoi(string(fields[3]))
	s.threads, errs[3] = strconv.Atoi(string(fields[17]))
	s.start, errs[4] = strconv.ParseUint(string(fields[19]), 10, 64)
	return s, errors.Join(errs[:]...)
}

func readStat(pid int) (stat, error) { return readStatFile("/proc/" + strconv.Itoa(pid) + "/stat") }

func readStatFile(path string) (stat, error) {
	var buffer [1024]byte // of which a name of 64 bytes and 51 numbers use less than the half
	line, err := slurp(path, buffer[:])
	if err != nil {
		return stat{}, goneIfMissing(err)
	}
	s, err := parseStat(line)
	if err != nil {
		return stat{}, fmt.Errorf("cannot understand %s: %w", path, err)
	}
	return s, nil
}

// identify describes whoever wears pid, zombies included.
func identify(pid int) (Info, error) {
	boot, err := bootID()
	if err != nil {
		return Info{}, err
	}
	s, err := readStat(pid)
	if err != nil {
		return Info{}, err
	}
	id := Identity{PID: pid, StartTime: s.start, BootID: boot}
	return Info{Identity: id, Name: s.name, Started: started(s.start)}, nil
}

func bootID() (string, error) {
	var buffer [64]byte
	id, err := slurp("/proc/sys/kernel/random/boot_id", buffer[:])
	if err != nil {
		return "", fmt.Errorf("cannot tell this boot of the machine from others: %w", err)
	}
	return string(bytes.TrimSpace(id)), nil
}

// slurp reads a small file of /proc with a third of the system calls of os.ReadFile.
func slurp(path string, buffer []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	n, err := unix.Read(fd, buffer)
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return nil, err
	}
	return buffer[:n], nil
}

func started(ticks uint64) time.Time {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return time.Time{}
	}
	uptime := time.Duration(now.Nano())
	return time.Now().Add(time.Duration(ticks)*(time.Second/ticksPerSecond) - uptime).Round(0)
}
