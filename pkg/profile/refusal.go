package profile

import "slices"

// Refusal says, in a sentence, why an attribute of a block can't have a value; it is empty if it can. It is for those who write profiles: what
// only the rest of a profile or the files beside it decide is not looked at.
func Refusal(block, attribute, value string) string {
	a := find(fileSpec, block).attribute(attribute)
	switch {
	case a.values != nil && !slices.Contains(a.values(), value):
		return quote(value) + " is none of " + list(a.values(), "and") + "."
	case a.rule.check != nil:
		return a.rule.check(value)
	}
	return ""
}

// find returns a kind of block, wherever it stands.
func find(spec *blockSpec, name string) *blockSpec {
	if found := spec.block(name); found != nil {
		return found
	}
	for _, b := range spec.blocks {
		if found := find(b, name); found != nil {
			return found
		}
	}
	return nil
}

// Official says whether a name is that of an official extension; only the catalogue knows whether there is one.
func Official(name string) bool { return officialName.MatchString(name) }
