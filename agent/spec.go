package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"paas/cluster"
)

// hash identifies what a container was made from: a running container whose
// hash is the assignment's can be adopted as it is. What a container is not made
// from (desired state, health check, grace) is not in it, and neither is the
// registry's address, which may change under a running container. What paas itself
// decides (capabilities, caps on processes and processors) is not in it either: an
// upgrade adopts what runs, and only new containers are as the new version says.
func (s spec) hash() string {
	a, p := s.Assignment, s.Assignment.Process
	var mounts []string
	for _, m := range a.Mounts {
		mounts = append(mounts, string(m.Volume)+":"+m.Path)
	}
	data, err := json.Marshal(struct {
		Image       cluster.Image
		Command     []string
		Keep        bool
		Port        int
		MemoryBytes int64
		CPUMilli    int64
		Env         []string
		Mounts      []string `json:",omitempty"` // replicas without volumes keep the hash that they had
	}{cluster.Image{Repository: a.Image.Repository, Digest: a.Image.Digest}, p.Command, p.KeepEntrypoint, p.Port, p.MemoryBytes, p.CPUMilli, s.env(), mounts})
	if err != nil {
		panic("agent: hash of plain data: " + err.Error()) // strings and numbers always encode
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}
