package imager

// Stored is the gzip stream that does not compress.
type Stored = stored
