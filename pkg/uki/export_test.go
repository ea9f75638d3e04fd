package uki

// FindEmbedded is FindSplash for other content, which tests can make.
var FindEmbedded = findEmbedded
