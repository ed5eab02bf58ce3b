package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/ipvslab/ipvslab/lb"
)

// memory is the file in which a director notes which services are its own. One
// that is killed while it changes the table can't take out any more what is not
// wanted; its successor, which finds it in the table, must know whose it is.
type memory struct {
	path string // empty: nothing is noted
	last []byte
}

// read gives the services of the predecessor.
func (m *memory) read() ([]lb.Key, error) {
	if m.path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var keys []lb.Key
	if err == nil {
		err = json.Unmarshal(data, &keys)
	}
	if err != nil {
		return nil, fmt.Errorf("read which services were the director's: %w", err)
	}
	return keys, nil
}

// note writes the services down, all at once or not at all.
func (m *memory) note(owned []lb.Key, wanted []lb.Service) error {
	if m.path == "" {
		return nil
	}
	keys := slices.Clone(owned)
	for _, s := range wanted {
		keys = append(keys, s.Key)
	}
	slices.SortFunc(keys, lb.Key.Compare)
	data, err := json.Marshal(slices.Compact(keys))
	if err == nil && !slices.Equal(data, m.last) {
		if err = os.WriteFile(m.path+".new", data, 0o600); err == nil {
			err = os.Rename(m.path+".new", m.path)
		}
	}
	if err != nil {
		return fmt.Errorf("note which services are the director's: %w", err)
	}
	m.last = data
	return nil
}
