package results

import (
	"encoding/json"
	"fmt"
	"strings"
)

// requiredKeys lists, per object of the schema, the keys that each record has.
// Others rely on them: keys may be added, none is ever removed. A path with []
// stands for each element of a list. Keys of Record that are not listed came
// later or are optional.
func requiredKeys() []objectKeys {
	return []objectKeys{
		{"", "schema id started_at ended_at tool config supplied network reflector lifetimes loss recommendation trials effort"},
		{"tool", "name version commit os arch"},
		{"config", ""},
		{"supplied", ""},
		{"network", "family mapping filtering port_preservation hairpinning inbound_refresh nat_levels fingerprint access asn country"},
		{"reflector", "id address_class rtt_ms boot_id attested"},
		{"lifetimes[]", "regime dst_port payload hop lower_s upper_s shape censored trials alive expired inconclusive"},
		{"loss", "sent lost rate upper95"},
		{"recommendation", "keepalive_s fallback_s basis tolerates_losses reachability off reason alternatives cost_per_day"},
		{"recommendation.cost_per_day", "packets bytes wakeups"},
		{"trials[]", "regime gap_s measured_gap_s outcome reason copies_received remapped started_at"},
		{"effort", "elapsed_s first_bracket_s packets_sent packets_received bytes_sent max_mappings rounds"},
	}
}

type objectKeys struct{ path, keys string }

// checkKeys returns a *FieldError for the first required key that the JSON
// object doc lacks. Null stands for an object only where the schema has it so:
// a record may have no recommendation.
func checkKeys(doc []byte) error {
	keys := make(map[string][]string)
	for _, o := range requiredKeys() {
		keys[o.path] = strings.Fields(o.keys)
	}
	return checkObject(doc, "", "", keys)
}

// checkObject checks the object doc, which is at the given place, and those
// below it, for the keys of its path in the schema.
func checkObject(doc json.RawMessage, path, at string, keys map[string][]string) error {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(doc, &object); err != nil {
		return &FieldError{Field: at, Problem: "is not a JSON object"}
	}
	if object == nil {
		if path == "recommendation" {
			return nil
		}
		return &FieldError{Field: at, Problem: "is null, not an object"}
	}
	for _, key := range keys[path] {
		child, ok := object[key]
		if !ok {
			return &FieldError{Field: join(at, key), Problem: "is missing"}
		}
		if _, ok := keys[join(path, key)]; ok {
			if err := checkObject(child, join(path, key), join(at, key), keys); err != nil {
				return err
			}
		}
		listPath := join(path, key) + "[]"
		if _, ok := keys[listPath]; !ok {
			continue
		}
		var list []json.RawMessage
		if err := json.Unmarshal(child, &list); err != nil || list == nil {
			return &FieldError{Field: join(at, key), Problem: "is not a list"}
		}
		for i, element := range list {
			if err := checkObject(element, listPath, fmt.Sprintf("%s[%d]", join(at, key), i), keys); err != nil {
				return err
			}
		}
	}
	return nil
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
