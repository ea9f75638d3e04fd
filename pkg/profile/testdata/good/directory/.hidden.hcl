not a profile {
