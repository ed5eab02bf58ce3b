package lb

// Foreign says what to do with services that a table holds and nobody asked for.
type Foreign uint8

// The two ways to treat foreign services.
const (
	Keep     Foreign = iota // leave them as they are
	TakeOver                // the table is to hold what is desired and nothing else
)

// DiffOptions change what Diff does. The zero value keeps everything foreign.
type DiffOptions struct {
	Foreign Foreign
	// Owned are services that are ours though Foreign is Keep: those that are no
	// longer desired are deleted.
	Owned map[Key]bool
}

// Diff gives the changes that turn current into desired, in an order in which
// they are safe to make; it depends on nothing but its arguments. Neither
// argument may name a service or, within a service, a destination twice.
//
// Every object that differs costs one change, none that is equal costs any:
// the kernel can edit every field of a service but its key and every field of
// a destination but address and port (ip_vs_edit_service, ip_vs_edit_dest), so
// nothing that stays is deleted and added again, and no connection is lost.
//
// For each service: the service itself, new destinations in the order given
// (the kernel puts each at its list's head), edits, with those to weight 0
// last, so that a service is not without a usable destination in between.
// Deletions come after all of these, destinations first.
//
// The order of destinations that are in both arguments is left as it is.
func Diff(current, desired []Service, o DiffOptions) []Change {
	have := make(map[Key]Service, len(current))
	for _, s := range current {
		have[s.Key] = s
	}
	wanted := make(map[Key]bool, len(desired))
	var changes, deletions []Change
	for _, want := range desired {
		wanted[want.Key] = true
		got, ok := have[want.Key]
		switch {
		case !ok:
			changes = append(changes, Change{Op: AddService, Service: want.Spec()})
		case !sameSpec(got, want):
			changes = append(changes, Change{Op: EditService, Service: want.Spec()})
		}
		more, gone := diffDestinations(want.Key, got.Destinations, want.Destinations)
		changes = append(changes, more...)
		deletions = append(deletions, gone...)
	}
	for _, s := range current {
		if !wanted[s.Key] && (o.Foreign == TakeOver || o.Owned[s.Key]) {
			deletions = append(deletions, Change{Op: DeleteService, Service: Service{Key: s.Key}})
		}
	}
	return append(changes, deletions...)
}

func diffDestinations(k Key, current, desired []Destination) (changes, deletions []Change) {
	have := make(map[DestKey]Destination, len(current))
	for _, d := range current {
		d = d.Spec()
		have[d.DestKey] = d
	}
	wanted := make(map[DestKey]bool, len(desired))
	var edits, quiesce []Change
	for _, d := range desired {
		want := d.Spec()
		wanted[want.DestKey] = true
		got, ok := have[want.DestKey]
		switch {
		case !ok:
			changes = append(changes, DestChange(AddDestination, k, want))
		case got == want:
		case want.Weight == 0:
			quiesce = append(quiesce, DestChange(EditDestination, k, want))
		default:
			edits = append(edits, DestChange(EditDestination, k, want))
		}
	}
	for _, d := range current {
		if d = d.Spec(); !wanted[d.DestKey] {
			deletions = append(deletions, DestChange(DeleteDestination, k, Destination{DestKey: d.DestKey}))
		}
	}
	return append(append(changes, edits...), quiesce...), deletions
}
