talos {
  version = "v1.13.9"
}

image "units" {
  output "disk" {
    size = "8GB"
  }
}

image "letters" {
  output "disk" {
    size = "8g"
  }
}

image "fraction" {
  output "disk" {
    size = "1.5GiB"
  }
}

image "words" {
  output "disk" {
    size = "big"
  }
}

image "small" {
  output "disk" {
    size = 1048576
  }
}

image "large" {
  output "disk" {
    size = "17TiB"
  }
}

image "larger" {
  output "disk" {
    size = "99999999999999999999999"
  }
}

image "odd" {
  output "disk" {
    size = 8000000001
  }
}

image "negative" {
  output "disk" {
    size = -1
  }
}

image "list" {
  output "disk" {
    size = [8]
  }
}
