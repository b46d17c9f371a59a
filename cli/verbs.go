package cli

import "github.com/urfave/cli/v2"

// Headings of the root help.
const (
	groupStart   = "Start"
	groupLook    = "Look"
	groupChange  = "Change"
	groupOperate = "Operate"
	groupRun     = "Servers"
	groupSelf    = "This tool"
)

// groups is the order of the headings.
var groups = []string{groupStart, groupLook, groupChange, groupOperate, groupRun, groupSelf}

// verbs is the whole command line.
func verbs() *verb {
	root := &verb{name: "paas", summary: "run apps on your own machines",
		flags: []cli.Flag{&cli.BoolFlag{Name: "version", Aliases: []string{"V"}, Usage: "show the version"}},
		verbs: []*verb{
			sampleVerb(), appsVerb(), deployVerb(), openVerb(),
			statusVerb(), psVerb(), logsVerb(), releasesVerb(), buildsVerb(), deploymentsVerb(), eventsVerb(),
			configVerb(), scaleVerb(), restartVerb(), rollbackVerb(), domainsVerb(), volumesVerb(), runVerb(), execVerb(),
			nodesVerb(), joinVerb(), tokenVerb(), backupVerb(), clusterVerb(), doctorVerb(), trustVerb(),
			upVerb(), downVerb(), serverVerb(), agentVerb(), loginVerb(), contextVerb(),
			gitVerb(), completionVerb(), versionVerb(), helpVerb(),
			completeVerb(), gitCredentialVerb(), gitHookVerb(), serveStaticVerb(), routesVerb(),
		}}
	return root.adopt()
}
