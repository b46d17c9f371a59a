package server

import (
	"slices"

	"paas/cluster"
	"paas/store"
)

// voters are the servers that vote, as one server sees them.
type voters struct {
	others []cluster.NodeID // sorted
	self   int              // 1 if this server votes, too
}

func (c *control) voters() voters {
	var v voters
	for id, voting := range c.store.Servers() {
		switch {
		case voting != store.Voter:
		case id == c.self:
			v.self = 1
		default:
			v.others = append(v.others, id)
		}
	}
	slices.Sort(v.others)
	return v
}

func (v voters) all() int { return len(v.others) + v.self }

// wanting is how many of the others have to hold what this server holds, for a majority
// to. What a majority holds survives the loss of any minority.
func (v voters) wanting() int { return cluster.Majority(v.all()) - v.self }
