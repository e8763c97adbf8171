package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"github.com/natprobe/natprobe/results"
)

// resumed are the flags whose values a resumed run takes from the record.
var resumed = []string{"lab", "reflector", "family", "regimes", "min", "max", "flows", "gentle"}

// resume reads the record to go on from, and sets the flags that aren't given to
// its settings.
func (a *app) resume(f *measureFlags, flags *pflag.FlagSet) (*results.Record, error) {
	record, err := a.lastRecord(f.resume)
	if err != nil {
		return nil, err
	}
	if record.Complete && f.resolution == 0 && f.repeat == 0 {
		return nil, usagef("%s: its last record is complete; to go on from it, ask for more with --resolution or --repeat", f.resume)
	}
	for _, name := range resumed {
		value, ok := record.Config[name]
		if given, ok := record.Supplied[name]; ok && name == "reflector" {
			value = given // a name says more than an address
		}
		if !ok || flags.Changed(name) || name == "reflector" && (f.lab != "" || record.Config["lab"] != nil) ||
			name == "lab" && f.reflector != "" {
			continue
		}
		// Not by Set, which would make it the user's own.
		if err := flags.Lookup(name).Value.Set(settingText(value)); err != nil {
			return nil, inputError{fmt.Errorf("%s: the setting %s of its last record: %w", f.resume, name, err)}
		}
	}
	return &record, nil
}

// settingText writes a setting of a record as a flag takes it.
func settingText(value any) string {
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value)
	}
	var words []string
	for _, v := range list {
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, ",")
}

// samePath is an error where the record to go on from was measured against
// another reflector, or in another lab. Whether this machine is where it was, the
// measurement finds out.
func samePath(earlier *results.Record, reflector netip.AddrPort, lab string) error {
	if earlier == nil {
		return nil
	}
	where := func(reflector, lab string) string {
		if lab != "" {
			return "in the lab " + lab
		}
		return "against " + reflector
	}
	then, _ := earlier.Config["reflector"].(string)
	thenLab, _ := earlier.Config["lab"].(string)
	if now := where(reflector.String(), lab); now != where(then, thenLab) {
		return usagef("--resume: the record was measured %s, and this would be %s: that is another path", where(then, thenLab), now)
	}
	return nil
}
