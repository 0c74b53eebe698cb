package instance

import "path/filepath"

// socketPathMax is the size of sun_path, with the terminating zero byte.
const socketPathMax = 108

func directories(env Env, name string) (data, logs string) {
	local := env.LocalAppData
	if !filepath.IsAbs(local) {
		local = filepath.Join(env.Home, "AppData", "Local")
	}
	data = filepath.Join(local, name)
	return data, filepath.Join(data, "logs")
}

func limaSuffix(name string) string { return "_rdd" + name }
