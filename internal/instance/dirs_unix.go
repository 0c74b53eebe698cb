//go:build unix && !darwin

package instance

import "path/filepath"

// socketPathMax is the size of sun_path, with the terminating zero byte.
const socketPathMax = 108

func directories(env Env, name string) (data, logs string) {
	return filepath.Join(xdg(env.XDGDataHome, env.Home, "share"), name),
		filepath.Join(xdg(env.XDGStateHome, env.Home, "state"), name)
}

func xdg(dir, home, leaf string) string {
	if filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join(home, ".local", leaf)
}

func limaSuffix(string) string { return "" }
