package login

import (
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
)

// The task ends as soon as the control plane runs in the background, so that nothing belongs to it that ending a task would end. Windows
// asks nobody when a session ends: VMs are not shut down then.
const taskXML = `<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Starts the control plane of rdd instance {{.Instance}}</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <UserId>{{text .User}}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{{text .User}}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT10M</ExecutionTimeLimit>
    <Hidden>true</Hidden>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{{text .Command}}</Command>
      <Arguments>{{text .Arguments}}</Arguments>
    </Exec>
  </Actions>
</Task>
`

// Task is for Windows, at the logon of the user with that name ("DOMAIN\name"). The file lies in dir.
func Task(spec Spec, user, dir string) (Plan, error) {
	command, arguments, err := action(spec)
	if err != nil {
		return Plan{}, err
	}
	content, err := fill(taskXML, template.FuncMap{"text": escapeXML}, struct {
		Spec
		User, Command, Arguments string
	}{spec, user, command, arguments})
	if err != nil {
		return Plan{}, err
	}
	path, name := filepath.Join(dir, "logon-task.xml"), "rdd-"+spec.Instance
	return Plan{
		Files:   []File{{path, content}},
		Enable:  [][]string{{"schtasks", "/Create", "/TN", name, "/XML", path, "/F"}, {"schtasks", "/Run", "/TN", name}},
		Disable: [][]string{{"schtasks", "/Delete", "/TN", name, "/F"}},
	}, nil
}

// action is what the task runs. It has the variables of the user's account, but no place for those of a shell: where some of these are
// rdd's own, the command interpreter sets them.
func action(spec Spec) (command, arguments string, err error) {
	var line strings.Builder
	for _, variable := range spec.Environ {
		if !strings.HasPrefix(variable, "RDD_") {
			continue
		}
		if strings.Contains(variable, `"`) {
			return "", "", fmt.Errorf("a task of Windows takes no variable with quotes: %s", variable)
		}
		fmt.Fprintf(&line, `set "%s"& `, variable)
	}
	arguments = "--instance=" + spec.Instance + " svc start"
	if line.Len() == 0 {
		return spec.Executable, arguments, nil
	}
	fmt.Fprintf(&line, `"%s" %s`, spec.Executable, arguments)
	if strings.Count(line.String(), "%") > 1 { // what is in between would be taken for the name of a variable
		return "", "", fmt.Errorf("a task of Windows takes no more than one %% in variables and the path of rdd: %s", line.String())
	}
	return `%windir%\System32\cmd.exe`, `/d /s /c "` + line.String() + `"`, nil
}
