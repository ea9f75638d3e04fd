//go:build mage

package main

import (
	//mage:import
	_ "github.com/talosmith/talosmith/magefiles/targets"
)
