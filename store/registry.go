package store

// The numbers of the commands in the log. Append only: a number is never used
// again and never changes its meaning.
const (
	typeUnknown CommandType = iota
	typeBootstrap
	typeCreateApp
	typeUpdateApp
	typeDestroyApp
	typeChangeConfig
	typeScale
	typeRestart
	typeCreateRelease
	typeRollback
	typeStartBuild
	typeFinishBuild
	typeApplyPlan
	typeObserve
	typeRegisterNode
	typeSetNodeState
	typeAddDomain
	typeRemoveDomain
	typeCreateToken
	typeExchangeToken
	typeRevokeToken
	typePutFile
	typeDeleteFile
	typeAcquireLock
	typeReleaseLock
	typeAudit
	typeCreateVolume
	typeAttachVolume
	typeDetachVolume
	typeDestroyVolume
	typeForgetVolumes
	typeCreateJoin
	typeRedeemJoin
	typeRevokeJoin
	typeRemoveNode
	typeScheduleNode
	typeLabelNode
	typeMoveRefs
	typeBeginCommand
	typeRaiseFeatureLevel
	typesEnd // keep last
)

// newCommand returns an empty command of type t to decode into; nil if this
// server does not know t.
func newCommand(t CommandType) Command {
	if c := newAppCommand(t); c != nil {
		return c
	}
	switch t {
	case typeBootstrap:
		return &Bootstrap{}
	case typeRaiseFeatureLevel:
		return &RaiseFeatureLevel{}
	case typeApplyPlan:
		return &ApplyPlan{}
	case typeObserve:
		return &Observe{}
	case typeCreateToken:
		return &CreateToken{}
	case typeExchangeToken:
		return &ExchangeToken{}
	case typeRevokeToken:
		return &RevokeToken{}
	case typePutFile:
		return &PutFile{}
	case typeDeleteFile:
		return &DeleteFile{}
	case typeAcquireLock:
		return &AcquireLock{}
	case typeReleaseLock:
		return &ReleaseLock{}
	case typeAudit:
		return &Audit{}
	}
	return newNodeCommand(t)
}

// newNodeCommand is newCommand for what becomes of nodes.
func newNodeCommand(t CommandType) Command {
	switch t {
	case typeRegisterNode:
		return &RegisterNode{}
	case typeSetNodeState:
		return &SetNodeState{}
	case typeCreateJoin:
		return &CreateJoin{}
	case typeRedeemJoin:
		return &RedeemJoin{}
	case typeRevokeJoin:
		return &RevokeJoin{}
	case typeRemoveNode:
		return &RemoveNode{}
	case typeScheduleNode:
		return &ScheduleNode{}
	case typeLabelNode:
		return &LabelNode{}
	}
	return nil
}

// newAppCommand is newCommand for what people do with apps.
func newAppCommand(t CommandType) Command {
	switch t {
	case typeCreateApp:
		return &CreateApp{}
	case typeUpdateApp:
		return &UpdateApp{}
	case typeDestroyApp:
		return &DestroyApp{}
	case typeChangeConfig:
		return &ChangeConfig{}
	case typeScale:
		return &Scale{}
	case typeRestart:
		return &Restart{}
	case typeCreateRelease:
		return &CreateRelease{}
	case typeRollback:
		return &Rollback{}
	case typeStartBuild:
		return &StartBuild{}
	case typeFinishBuild:
		return &FinishBuild{}
	case typeAddDomain:
		return &AddDomain{}
	case typeRemoveDomain:
		return &RemoveDomain{}
	case typeMoveRefs:
		return &MoveRefs{}
	case typeBeginCommand:
		return &BeginCommand{}
	}
	return newVolumeCommand(t)
}

// newVolumeCommand is newCommand's part about volumes.
func newVolumeCommand(t CommandType) Command {
	switch t {
	case typeCreateVolume:
		return &CreateVolume{}
	case typeAttachVolume:
		return &AttachVolume{}
	case typeDetachVolume:
		return &DetachVolume{}
	case typeDestroyVolume:
		return &DestroyVolume{}
	case typeForgetVolumes:
		return &ForgetVolumes{}
	}
	return nil
}

// Type implements Command.
func (c Bootstrap) Type() CommandType { return typeBootstrap }

// Type implements Command.
func (c CreateApp) Type() CommandType { return typeCreateApp }

// Type implements Command.
func (c UpdateApp) Type() CommandType { return typeUpdateApp }

// Type implements Command.
func (c DestroyApp) Type() CommandType { return typeDestroyApp }

// Type implements Command.
func (c ChangeConfig) Type() CommandType { return typeChangeConfig }

// Type implements Command.
func (c Scale) Type() CommandType { return typeScale }

// Type implements Command.
func (c Restart) Type() CommandType { return typeRestart }

// Type implements Command.
func (c CreateRelease) Type() CommandType { return typeCreateRelease }

// Type implements Command.
func (c Rollback) Type() CommandType { return typeRollback }

// Type implements Command.
func (c StartBuild) Type() CommandType { return typeStartBuild }

// Type implements Command.
func (c FinishBuild) Type() CommandType { return typeFinishBuild }

// Type implements Command.
func (c ApplyPlan) Type() CommandType { return typeApplyPlan }

// Type implements Command.
func (c Observe) Type() CommandType { return typeObserve }

// Type implements Command.
func (c RegisterNode) Type() CommandType { return typeRegisterNode }

// Type implements Command.
func (c SetNodeState) Type() CommandType { return typeSetNodeState }

// Type implements Command.
func (c AddDomain) Type() CommandType { return typeAddDomain }

// Type implements Command.
func (c RemoveDomain) Type() CommandType { return typeRemoveDomain }

// Type implements Command.
func (c CreateToken) Type() CommandType { return typeCreateToken }

// Type implements Command.
func (c ExchangeToken) Type() CommandType { return typeExchangeToken }

// Type implements Command.
func (c RevokeToken) Type() CommandType { return typeRevokeToken }

// Type implements Command.
func (c PutFile) Type() CommandType { return typePutFile }

// Type implements Command.
func (c DeleteFile) Type() CommandType { return typeDeleteFile }

// Type implements Command.
func (c AcquireLock) Type() CommandType { return typeAcquireLock }

// Type implements Command.
func (c ReleaseLock) Type() CommandType { return typeReleaseLock }

// Type implements Command.
func (c Audit) Type() CommandType { return typeAudit }

// Type implements Command.
func (c CreateVolume) Type() CommandType { return typeCreateVolume }

// Type implements Command.
func (c AttachVolume) Type() CommandType { return typeAttachVolume }

// Type implements Command.
func (c DetachVolume) Type() CommandType { return typeDetachVolume }

// Type implements Command.
func (c DestroyVolume) Type() CommandType { return typeDestroyVolume }

// Type implements Command.
func (c ForgetVolumes) Type() CommandType { return typeForgetVolumes }

// Type implements Command.
func (c CreateJoin) Type() CommandType { return typeCreateJoin }

// Type implements Command.
func (c RedeemJoin) Type() CommandType { return typeRedeemJoin }

// Type implements Command.
func (c RevokeJoin) Type() CommandType { return typeRevokeJoin }

// Type implements Command.
func (c RemoveNode) Type() CommandType { return typeRemoveNode }

// Type implements Command.
func (c ScheduleNode) Type() CommandType { return typeScheduleNode }

// Type implements Command.
func (c LabelNode) Type() CommandType { return typeLabelNode }

// Type implements Command.
func (c MoveRefs) Type() CommandType { return typeMoveRefs }

// Type implements Command.
func (c BeginCommand) Type() CommandType { return typeBeginCommand }

// Type implements Command.
func (c RaiseFeatureLevel) Type() CommandType { return typeRaiseFeatureLevel }
