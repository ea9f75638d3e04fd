image "metal" {
  output "iso" {}
}
