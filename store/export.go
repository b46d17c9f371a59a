package store

import (
	"encoding/json"
	"fmt"

	"paas/cluster"
)

// Export writes s as canonical JSON: equal states give equal bytes. Secrets
// appear as fingerprints, token hashes not at all.
func Export(s *cluster.State) ([]byte, error) {
	out, err := json.MarshalIndent(s.Snapshot(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("export state at index %d: %w", s.Index(), err)
	}
	return append(out, '\n'), nil
}
