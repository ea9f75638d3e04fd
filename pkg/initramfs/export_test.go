package initramfs

var SegmentsWithin = segmentsWithin
