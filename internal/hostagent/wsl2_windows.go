package hostagent

import _ "github.com/lima-vm/lima/v2/pkg/driver/wsl2" // registers itself
