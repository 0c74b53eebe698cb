package instance

import "path/filepath"

// socketPathMax is the size of sun_path, with the terminating zero byte.
const socketPathMax = 104

func directories(env Env, name string) (data, logs string) {
	library := filepath.Join(env.Home, "Library")
	return filepath.Join(library, "Application Support", name), filepath.Join(library, "Logs", name)
}

func limaSuffix(string) string { return "" }
