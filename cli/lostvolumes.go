package cli

import (
	"fmt"

	"paas/api"
	"paas/cluster"
)

// leftBehind says what it means that a volume's node is no member any more.
func leftBehind(v *api.VolumeInfo, node string) string {
	if !v.Attached() {
		return fmt.Sprintf("volume %s of app %s is out of reach: its data is on the disk of %s", v.Name, v.App, node)
	}
	return fmt.Sprintf("%s of app %s is down: its volume %s is out of reach, on the disk of %s\n    to run it elsewhere, without that data: %s",
		v.Process, v.App, v.Name, node, cluster.DetachAdvice(v.App, v.Name))
}

// lostVolumes are the commands that let go of volumes which nobody reaches any more.
func lostVolumes(all []api.VolumeInfo) (commands []string) {
	for _, v := range all {
		if v.NodeGone && v.Attached() {
			commands = append(commands, cluster.DetachAdvice(v.App, v.Name))
		}
	}
	return commands
}

// judgeVolumes names the apps whose volume nobody reaches any more.
func judgeVolumes(all []api.VolumeInfo) (out []finding) {
	for _, v := range all {
		if v.NodeGone && v.Attached() {
			out = append(out, finding{Check: "volumes", State: "broken", Do: "run it elsewhere, without that data: " + cluster.DetachAdvice(v.App, v.Name),
				Text: fmt.Sprintf("%s of app %s cannot run: its volume %s is on %s, which is no member any more", v.Process, v.App, v.Name, v.NodeName)})
		}
	}
	return out
}
