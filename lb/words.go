package lb

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Differences say in words where a table differs from what is planned: what
// each change of [Diff] would mend, for somebody who has neither's code. No
// words: no difference.
func Differences(have, planned []Service, o DiffOptions) []string {
	changes := Diff(have, planned, o)
	lines := make([]string, len(changes))
	for i, c := range changes {
		lines[i] = difference(have, planned, c)
	}
	return lines
}

func difference(have, planned []Service, c Change) string {
	got, want := serviceOf(have, c.Service.Key), serviceOf(planned, c.Service.Key)
	dest := fmt.Sprintf("%s: real server %s", c.Service.Key, c.Destination.DestKey)
	switch c.Op {
	case AddService:
		return fmt.Sprintf("%s: the service is missing", c.Service.Key)
	case DeleteService:
		return fmt.Sprintf("%s: the service is not planned", c.Service.Key)
	case EditService:
		return fmt.Sprintf("%s: ", c.Service.Key) + fields(got.Spec(), want.Spec())
	case AddDestination:
		return dest + " is missing"
	case DeleteDestination:
		return dest + " is not planned"
	default:
		return dest + ": " + fields(destinationOf(got, c.Destination.DestKey), destinationOf(want, c.Destination.DestKey))
	}
}

func serviceOf(services []Service, k Key) Service {
	i := slices.IndexFunc(services, func(s Service) bool { return s.Key == k })
	if i < 0 {
		return Service{Key: k}
	}
	return services[i]
}

func destinationOf(s Service, k DestKey) Destination {
	for _, d := range s.Destinations {
		if d = d.Spec(); d.DestKey == k {
			return d
		}
	}
	return Destination{DestKey: k}
}

// fieldWords are the names of fields that don't say by themselves what they are.
var fieldWords = map[string]string{
	"Forward": "forwarding method", "Timeout": "persistence timeout", "MaskBits": "persistence mask", "OddMask": "persistence mask",
	"Engine": "persistence engine", "Upper": "upper threshold", "Lower": "lower threshold",
}

// fields lists the fields in which two structs of one type differ.
func fields[T any](got, want T) string {
	var out []string
	g, w := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range g.NumField() {
		a, b := g.Field(i).Interface(), w.Field(i).Interface()
		if reflect.DeepEqual(a, b) {
			continue
		}
		name := g.Type().Field(i).Name
		word, ok := fieldWords[name]
		if !ok {
			word = strings.ToLower(name)
		}
		out = append(out, fmt.Sprintf("%s is %s, planned is %s", word, fieldText(got, a), fieldText(want, b)))
	}
	return strings.Join(out, "; ")
}

// fieldText is a value of a service or destination as a topology file has it.
func fieldText(of, v any) string {
	switch v := v.(type) {
	case Forward:
		if text, err := v.MarshalText(); err == nil {
			return string(text)
		}
	case Flags:
		service, _ := of.(Service)
		if v == 0 {
			return "none"
		}
		return strings.Join(v.Words(service.Scheduler), ",")
	}
	return fmt.Sprint(v)
}
