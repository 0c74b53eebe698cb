package login

import (
	"path/filepath"
	"text/template"
)

// The task ends as soon as the control plane runs in the background, so that nothing belongs to it that ending a task would end.
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
      <Command>{{text .Executable}}</Command>
      <Arguments>--instance={{.Instance}} svc start</Arguments>
    </Exec>
  </Actions>
</Task>
`

// Task is for Windows, at the logon of the user with that name ("DOMAIN\name"). The file lies in dir.
func Task(spec Spec, user, dir string) (Plan, error) {
	content, err := fill(taskXML, template.FuncMap{"text": escapeXML}, struct {
		Spec
		User string
	}{spec, user})
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
