package store

import (
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/fxamacker/cbor/v2"
)

// entryVersion is the version of the envelope and of the encoding rules below.
const entryVersion = 1

// entry is a command as the Raft log holds it.
type entry struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Type    CommandType
	Body    cbor.RawMessage
}

// encoding is RFC 8949's core deterministic encoding, with times in UTC to the
// nanosecond: equal values give equal bytes.
var encoding = newEncoding()

// decoding is strict: what it does not know it refuses, because a server that
// skipped a field would end up with another state than its peers.
var decoding = newDecoding()

func newEncoding() cbor.EncMode {
	o := cbor.CoreDetEncOptions()
	o.Time = cbor.TimeRFC3339NanoUTC
	m, err := o.EncMode()
	if err != nil {
		panic("store: encoding options: " + err.Error())
	}
	return m
}

func newDecoding() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxArrayElements:  1 << 24, // a snapshot's largest table
		MaxMapPairs:       1 << 20,
	}.DecMode()
	if err != nil {
		panic("store: decoding options: " + err.Error())
	}
	return m
}

// encodeCommand is what a proposer puts into the log.
func encodeCommand(c Command) ([]byte, error) {
	body, err := encoding.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode command %T: %w", c, err)
	}
	return encoding.Marshal(entry{Version: entryVersion, Type: c.Type(), Body: body})
}

// decodeCommand is the inverse of encodeCommand.
func decodeCommand(data []byte) (Command, error) {
	var e entry
	if err := decoding.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("decode log entry: %w", err)
	}
	if e.Version != entryVersion {
		return nil, fmt.Errorf("decode log entry: version %d is not known, this program writes version %d", e.Version, entryVersion)
	}
	c := newCommand(e.Type)
	if c == nil {
		return nil, fmt.Errorf("decode log entry: command type %d is not known, the newest known is %d", e.Type, typesEnd-1)
	}
	if err := decoding.Unmarshal(e.Body, c); err != nil {
		return nil, fmt.Errorf("decode command of type %d: %w", e.Type, err)
	}
	// newCommand gives pointers to decode into; commands are passed as values.
	return reflect.ValueOf(c).Elem().Interface().(Command), nil
}

// decodeStream reads one value from r and refuses anything after it.
func decodeStream(r io.Reader, v any) error {
	dec := decoding.NewDecoder(r)
	if err := dec.Decode(v); err != nil {
		return err
	}
	if n, err := io.Copy(io.Discard, io.MultiReader(dec.Buffered(), r)); err != nil || n > 0 {
		return fmt.Errorf("%d bytes after the end: %w", n, errors.Join(err, io.ErrUnexpectedEOF))
	}
	return nil
}
