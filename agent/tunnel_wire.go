package agent

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"

	"paas/cluster"
)

const (
	// tunnelVersion is of the preface: another one is refused.
	tunnelVersion = 1
	// prefaceLimit bounds a preface: an ID, a name and an address.
	prefaceLimit = 512
)

// preface is the first thing that the near end of a tunnel says: which replica it
// wants, and where it believes that to be. Without an Allocation it wants none, but
// to have each byte sent back: see tunnels.echo.
type preface struct {
	Version    uint8                `cbor:"1,keyasint"`
	Allocation cluster.AllocationID `cbor:"2,keyasint,omitempty"`
	Instance   string               `cbor:"3,keyasint,omitempty"` // for logs
	Address    string               `cbor:"4,keyasint,omitempty"` // IP:port of the container
}

// write sends p: two bytes of length, then CBOR.
func (p preface) write(w io.Writer) error {
	data, err := cbor.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode tunnel preface: %w", err)
	}
	if len(data) > prefaceLimit {
		return fmt.Errorf("tunnel preface of %d bytes is too long", len(data))
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...))
	return err
}

// readPreface reads what write sent, and not a byte more.
func readPreface(r io.Reader) (preface, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return preface{}, err
	}
	n := binary.BigEndian.Uint16(head[:])
	if n > prefaceLimit {
		return preface{}, fmt.Errorf("tunnel preface of %d bytes is too long", n)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return preface{}, err
	}
	var p preface
	if err := cbor.Unmarshal(data, &p); err != nil {
		return preface{}, fmt.Errorf("decode tunnel preface: %w", err)
	}
	return p, p.validate()
}

func (p preface) validate() error {
	if p.Version != tunnelVersion {
		return cluster.Invalid("version", "tunnels of version %d are not known here", p.Version)
	}
	if p.Allocation == "" {
		return nil
	}
	_, err := cluster.ParseAddress("address", p.Address)
	return err
}

// tunnelStatus is the one byte that the far end answers a preface with. The zero
// tunnelStatus is no answer.
type tunnelStatus uint8

const (
	tunnelOpen      tunnelStatus = iota + 1 // what follows comes from the container
	tunnelNotThere                          // the replica does not run at that address
	tunnelRefused                           // its container took no connection
	tunnelForbidden                         // the near end is nobody who may ask
	tunnelFull                              // this host has as many tunnels as it can bear
	tunnelMalformed                         // the preface was not understood
)

func (s tunnelStatus) String() string {
	switch s {
	case tunnelOpen:
		return "open"
	case tunnelNotThere:
		return "the replica does not run there now"
	case tunnelRefused:
		return "its container takes no connection"
	case tunnelForbidden:
		return "this host may not ask for it: it is no router's"
	case tunnelFull:
		return "its host has too many connections from routers"
	case tunnelMalformed:
		return "its host runs another version of paas"
	}
	return fmt.Sprintf("unknown answer %d", uint8(s))
}
