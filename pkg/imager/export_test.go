package imager

// Stored is the gzip stream that does not compress.
type Stored = stored

// TagOf makes a tag of a version.
var TagOf = tagOf
