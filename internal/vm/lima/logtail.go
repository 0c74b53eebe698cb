package lima

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
)

// A failure shows this much of a child's log: enough to see why, little enough for a condition's message.
const (
	tailBytes = 32 << 10
	tailLines = 10
)

// Lima logs what QEMU writes to its standard error, at the level debug. What it says of itself begins with its name.
const (
	qemuSays = "debug: qemu[stderr]: "
	qemuName = "qemu-system-"
)

// logTail returns the last lines of a child's log that are worth reading, oldest first, and the last one that is an error.
func logTail(path string) (lines []string, lastError string) {
	file, err := os.Open(path)
	if err != nil {
		return nil, ""
	}
	defer file.Close()
	partial := false
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := file.Seek(-tailBytes, io.SeekEnd); err != nil {
			return nil, ""
		}
		partial = true
	}
	text, err := io.ReadAll(io.LimitReader(file, tailBytes))
	if err != nil {
		return nil, ""
	}
	if _, rest, found := bytes.Cut(text, []byte("\n")); partial && found {
		text = rest
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		message, level := readable(line)
		if said, ok := strings.CutPrefix(message, qemuSays); ok && strings.HasPrefix(said, qemuName) {
			message, level = said, "error"
		}
		if message == "" || level == "debug" || level == "trace" {
			continue
		}
		if level == "error" || level == "fatal" || level == "panic" {
			lastError = message
		}
		lines = append(lines, message)
	}
	return lines[max(0, len(lines)-tailLines):], lastError
}

// readable makes text of a line of logrus's JSON. What is no JSON (a crash of the Go runtime, say) is shown as it is.
func readable(line string) (message, level string) {
	line = strings.TrimSpace(line)
	var entry struct {
		Level string `json:"level"`
		Msg   string `json:"msg"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Msg == "" {
		return line, ""
	}
	message = entry.Msg
	if entry.Error != "" {
		message += ": " + entry.Error
	}
	message = strings.Join(strings.Fields(message), " ")
	if entry.Level != "" && entry.Level != "info" {
		message = entry.Level + ": " + message
	}
	return message, entry.Level
}
