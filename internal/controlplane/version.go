package controlplane

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
	apimachineryversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/component-base/compatibility"
	baseversion "k8s.io/component-base/version"
)

// kubernetesVersion is the one that go.mod requires; a test holds them together.
const kubernetesVersion = "1.37.2"

// effectiveVersion answers /version with something that parses as a semantic version in every kind of build: upstream's own
// does so only when the linker sets it.
type effectiveVersion struct {
	compatibility.EffectiveVersion
	rdd string
}

func newEffectiveVersion(rdd string) effectiveVersion {
	v := version.MustParse(kubernetesVersion)
	floor := version.MajorMinor(v.Major(), v.Minor())
	return effectiveVersion{compatibility.NewEffectiveVersion(v, false, floor, floor), rdd}
}

func (e effectiveVersion) Info() *apimachineryversion.Info {
	v := e.BinaryVersion()
	info := baseversion.Get()
	info.Major = version.Itoa(v.Major())
	info.Minor = version.Itoa(v.Minor())
	info.GitVersion = "v" + kubernetesVersion + "+rdd" + buildMetadata(e.rdd)
	info.GitCommit = ""
	return &info
}

// buildMetadata keeps of a version what semantic versions allow after the plus sign.
func buildMetadata(v string) string {
	if v == "" {
		return ""
	}
	return "." + strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '-', r == '.':
			return r
		}
		return '-'
	}, strings.Trim(v, ".+"))
}
