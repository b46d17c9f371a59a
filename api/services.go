package api

// Services is everything the API offers. *Client satisfies each interface over
// HTTP; package server implements them on the store.
type Services struct {
	Apps      AppService
	Processes ProcessService
	Config    ConfigService
	Releases  ReleaseService
	Deploys   DeployService
	Builds    BuildService
	Logs      LogService
	Terminals TerminalService
	Domains   DomainService
	Volumes   VolumeService
	Events    EventService
	Nodes     NodeService
	Tokens    TokenService
	Joins     JoinService
	Cluster   ClusterService
}
